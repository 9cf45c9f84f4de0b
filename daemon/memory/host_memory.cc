#include "daemon/memory/host_memory.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/failpoint.h"
#include "daemon/memory/mapping.h"
#include "daemon/memory/shared_memory.h"
#include "daemon/memory/system_memory.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

constexpr char kDeviceName[] = "host";
// Of x86-64 and of AArch64 with 4 KiB pages; what a mapping must be aligned to so that pages can be collapsed.
constexpr std::int64_t kTransparentHugePageBytes = std::int64_t{2} << 20;
constexpr unsigned kNodeMax = 1024;

// From Linux 5.14 and 6.1; Debian 12's headers have them, an older build host may not.
#ifndef MADV_POPULATE_WRITE
constexpr int MADV_POPULATE_WRITE = 23;
#endif
#ifndef MADV_COLLAPSE
constexpr int MADV_COLLAPSE = 25;
#endif

class HostAllocation final : public Allocation {
 public:
  HostAllocation(UniqueFd fd, std::int64_t size_bytes) : fd_(std::move(fd)), size_bytes_(size_bytes) {}
  [[nodiscard]] int fd() const override { return fd_.get(); }
  [[nodiscard]] std::int64_t size_bytes() const override { return size_bytes_; }
  [[nodiscard]] FileId file_id() const override { return SharedMemoryId(fd_.get()); }

 private:
  const UniqueFd fd_;
  const std::int64_t size_bytes_;
};

absl::StatusOr<std::int64_t> Granularity(HugePages huge_pages) {
  switch (huge_pages) {
    case HugePages::kOff:
      return ::sysconf(_SC_PAGESIZE);
    case HugePages::kTransparent:
      return kTransparentHugePageBytes;
    case HugePages::kHugetlb: {
      const absl::StatusOr<std::int64_t> size = ReadMeminfo("Hugepagesize");
      if (size.ok()) return size;
      return absl::FailedPreconditionError("host huge pages: this kernel has no hugetlb pages");
    }
  }
  return absl::InternalError("unknown kind of huge pages");
}

absl::Status CheckNode(int node) {
  std::ifstream online("/sys/devices/system/node/online");
  std::string text;
  online >> text;
  const std::string path = absl::StrCat("/sys/devices/system/node/node", node);
  if (A8A_FAILPOINT("host_memory.access", ::access(path.c_str(), F_OK)) == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("host NUMA node ", node, " does not exist; online are: ", text.empty() ? "unknown" : text));
}

int BindPages(const Mapping& mapping, int node) {
  constexpr unsigned kBitsPerWord = sizeof(unsigned long) * CHAR_BIT;
  std::array<unsigned long, kNodeMax / kBitsPerWord> mask = {};
  const auto bit = static_cast<unsigned>(node);
  mask[bit / kBitsPerWord] = 1UL << bit % kBitsPerWord;
  const long result = A8A_FAILPOINT("host_memory.mbind", ::syscall(SYS_mbind, mapping.base(), mapping.size(), MPOL_BIND,
                                                                   mask.data(), kNodeMax + 1, 0));
  return result == 0 ? 0 : errno;
}

// For a shared mapping the policy is the memory's own: it holds for whoever touches a page first. [mbind(2), NOTES]
absl::Status BindToNode(const Mapping& mapping, int node) {
  const int error = BindPages(mapping, node);
  if (error == 0) return absl::OkStatus();
  return MemoryErrnoToStatus(error, absl::StrCat("binding host memory to NUMA node ", node));
}

// Says at the start what every allocation would stumble over.
absl::Status TryNode(int node) {
  if (node < 0) return absl::OkStatus();
  A8A_RETURN_IF_ERROR(CheckNode(node));
  const std::int64_t page_bytes = ::sysconf(_SC_PAGESIZE);
  A8A_ASSIGN_OR_RETURN(const UniqueFd fd, CreateSharedMemory("a8a-numa-trial", page_bytes, /*memfd_flags=*/0));
  A8A_ASSIGN_OR_RETURN(const Mapping mapping, Mapping::Map(fd.get(), page_bytes));
  switch (const int error = BindPages(mapping, node)) {
    case 0:
      return absl::OkStatus();
    case EINVAL:
      return absl::InvalidArgumentError(
          absl::StrCat("host NUMA node ", node, " has no memory that this process may use"));
    case EPERM:
    case ENOSYS:
      return absl::FailedPreconditionError(
          absl::StrCat("host NUMA node ", node, ": ", std::strerror(error),
                       "; binding memory needs a kernel with NUMA and, in most containers, CAP_SYS_NICE"));
    default:
      return MemoryErrnoToStatus(error, absl::StrCat("binding host memory to NUMA node ", node));
  }
}

// Adds to an error what there is of huge pages, and what to do.
absl::Status ExplainHugetlb(const absl::Status& status) {
  if (!absl::IsResourceExhausted(status)) return status;
  const auto count = [](absl::string_view key) { return ReadMeminfo(key).value_or(0); };
  return absl::ResourceExhaustedError(absl::StrCat(
      status.message(), ": ", count("HugePages_Free") - count("HugePages_Rsvd"), " of ", count("HugePages_Total"),
      " huge pages of ", count("Hugepagesize"), " bytes are free; raise vm.nr_hugepages or release buffers"));
}

}  // namespace

HostMemoryProvider::HostMemoryProvider(const HostMemoryOptions& options, DeviceInfo device)
    : options_(options), device_(std::move(device)) {}

absl::StatusOr<std::unique_ptr<HostMemoryProvider>> HostMemoryProvider::Create(const HostMemoryOptions& options) {
  A8A_RETURN_IF_ERROR(TryNode(options.numa_node));
  DeviceInfo device;
  device.name = kDeviceName;
  device.kind = DeviceKind::kHost;
  A8A_ASSIGN_OR_RETURN(device.granularity_bytes, Granularity(options.huge_pages));
  device.pool_limit_bytes = options.pool_limit_bytes;
  if (device.pool_limit_bytes == 0) {
    A8A_ASSIGN_OR_RETURN(const std::int64_t usable_bytes, UsableMemoryBytes());
    device.pool_limit_bytes = usable_bytes / 2;
  }
  return std::unique_ptr<HostMemoryProvider>(new HostMemoryProvider(options, std::move(device)));
}

absl::StatusOr<std::unique_ptr<Allocation>> HostMemoryProvider::Allocate(std::int64_t size_bytes,
                                                                         absl::string_view name) {
  const bool hugetlb = options_.huge_pages == HugePages::kHugetlb;
  A8A_ASSIGN_OR_RETURN(UniqueFd fd,
                       CreateSharedMemory(absl::StrCat("a8a-", name), size_bytes, hugetlb ? MFD_HUGETLB : 0));
  const absl::Status prepared = Prepare(fd.get(), size_bytes);
  if (!prepared.ok()) return hugetlb ? ExplainHugetlb(prepared) : prepared;
  return std::make_unique<HostAllocation>(std::move(fd), size_bytes);
}

absl::StatusOr<std::unique_ptr<Allocation>> HostMemoryProvider::Adopt(UniqueFd* fd, std::int64_t size_bytes,
                                                                      FileId file) {
  A8A_RETURN_IF_ERROR(CheckSharedMemory(fd->get(), size_bytes, file));
  return std::make_unique<HostAllocation>(std::move(*fd), size_bytes);
}

absl::Status HostMemoryProvider::Prepare(int fd, std::int64_t size_bytes) {
  const bool transparent = options_.huge_pages == HugePages::kTransparent;
  const bool hugetlb = options_.huge_pages == HugePages::kHugetlb;
  if (options_.numa_node < 0 && !transparent && !hugetlb && !options_.prefault) return absl::OkStatus();
  // Mapping hugetlb memory reserves its pages, and fails when there are too few.
  A8A_ASSIGN_OR_RETURN(const Mapping mapping,
                       Mapping::Map(fd, size_bytes, transparent ? kTransparentHugePageBytes : 1));
  if (options_.numa_node >= 0) A8A_RETURN_IF_ERROR(BindToNode(mapping, options_.numa_node));
  if (A8A_FAILPOINT("host_memory.populate", ::madvise(mapping.base(), mapping.size(), MADV_POPULATE_WRITE)) != 0) {
    return MemoryErrnoToStatus(errno == EFAULT ? ENOMEM : errno,
                               absl::StrCat("allocating the pages of ", size_bytes, " bytes"));
  }
  // The kernel may decline, for example when memory is fragmented; small pages are as correct.
  if (transparent &&
      A8A_FAILPOINT("host_memory.collapse", ::madvise(mapping.base(), mapping.size(), MADV_COLLAPSE)) != 0) {
    ReportSmallPages(errno);
  }
  return absl::OkStatus();
}

void HostMemoryProvider::ReportSmallPages(int error) {
  if (!options_.on_small_pages || small_pages_reported_.exchange(true)) return;
  options_.on_small_pages(absl::StrCat("madvise(MADV_COLLAPSE): ", std::strerror(error)));
}

absl::Status HostMemoryProvider::Probe() {
  constexpr unsigned char kPattern = 0xa8;
  A8A_ASSIGN_OR_RETURN(const std::unique_ptr<Allocation> allocation, Allocate(device_.granularity_bytes, "probe"));
  A8A_ASSIGN_OR_RETURN(const Mapping writer, Mapping::Map(allocation->fd(), allocation->size_bytes()));
  const UniqueFd shared(A8A_FAILPOINT("host_memory.dup", ::fcntl(allocation->fd(), F_DUPFD_CLOEXEC, 0)));
  if (!shared.valid()) return MemoryErrnoToStatus(errno, "duplicating a descriptor");
  A8A_ASSIGN_OR_RETURN(const Mapping reader, Mapping::Map(shared.get(), allocation->size_bytes()));
  std::memset(writer.base(), kPattern, writer.size());
  const auto* first = static_cast<const unsigned char*>(reader.base());
  if (std::all_of(first, first + reader.size(), [](unsigned char byte) { return byte == kPattern; })) {
    return absl::OkStatus();
  }
  return absl::InternalError("host memory: what was written through one mapping was not read through another");
}

}  // namespace a8a::daemon
