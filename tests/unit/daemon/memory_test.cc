// What every memory provider promises, on the host provider and on the fake; then what only the host provider has.

#include "daemon/memory/host_memory.h"

#include <fcntl.h>
#include <linux/mempolicy.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "daemon/memory/mapping.h"
#include "daemon/memory/shared_memory.h"
#include "tests/fakes/fake_memory_provider.h"
#include "tests/support/status_matchers.h"

namespace a8a::daemon {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

constexpr std::int64_t kPoolLimit = 1 << 30;

std::unique_ptr<MemoryProvider> MakeHost() {
  auto provider = HostMemoryProvider::Create({.pool_limit_bytes = kPoolLimit});
  return provider.ok() ? *std::move(provider) : nullptr;
}

std::unique_ptr<MemoryProvider> MakeFake() {
  DeviceInfo device = {.name = "host", .kind = DeviceKind::kHost, .uuid = "", .granularity_bytes = 4096};
  device.pool_limit_bytes = kPoolLimit;
  return std::make_unique<FakeMemoryProvider>(device, std::make_shared<FakeMemoryScript>());
}

struct Implementation {
  const char* name;
  std::unique_ptr<MemoryProvider> (*make)();
};

class MemoryProviderTest : public testing::TestWithParam<Implementation> {
 protected:
  std::unique_ptr<MemoryProvider> provider_ = GetParam().make();
};

TEST_P(MemoryProviderTest, DescribesItsDevice) {
  EXPECT_FALSE(provider_->device().name.empty());
  EXPECT_GT(provider_->device().granularity_bytes, 0);
  EXPECT_EQ(provider_->device().pool_limit_bytes, kPoolLimit);
}

TEST_P(MemoryProviderTest, MemoryIsZeroAndSharedThroughItsDescriptor) {
  const std::int64_t size_bytes = 3 * provider_->device().granularity_bytes;
  A8A_ASSERT_OK_AND_ASSIGN(const auto allocation, provider_->Allocate(size_bytes, "test"));
  A8A_ASSERT_OK_AND_ASSIGN(const Mapping writer, Mapping::Map(allocation->fd(), size_bytes));
  A8A_ASSERT_OK_AND_ASSIGN(const Mapping reader, Mapping::Map(allocation->fd(), size_bytes));
  const auto* bytes = static_cast<const char*>(reader.base());

  EXPECT_EQ(allocation->size_bytes(), size_bytes);
  EXPECT_TRUE(std::all_of(bytes, bytes + size_bytes, [](char byte) { return byte == 0; }));
  static_cast<char*>(writer.base())[size_bytes - 1] = 7;
  EXPECT_EQ(bytes[size_bytes - 1], 7);
}

TEST_P(MemoryProviderTest, ItsSizeIsSealed) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto allocation, provider_->Allocate(provider_->device().granularity_bytes, "test"));

  EXPECT_NE(ftruncate(allocation->fd(), 0), 0);
  EXPECT_NE(ftruncate(allocation->fd(), 2 * allocation->size_bytes()), 0);
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;  // newer kernels add one against execution
  EXPECT_EQ(fcntl(allocation->fd(), F_GET_SEALS) & kSeals, kSeals);
  EXPECT_NE(fcntl(allocation->fd(), F_GETFD) & FD_CLOEXEC, 0);
}

TEST_P(MemoryProviderTest, MappingsOutliveTheAllocation) {
  const std::int64_t size_bytes = provider_->device().granularity_bytes;
  auto allocation = provider_->Allocate(size_bytes, "test");
  ASSERT_THAT(allocation, IsOk());
  A8A_ASSERT_OK_AND_ASSIGN(const Mapping mapping, Mapping::Map((*allocation)->fd(), size_bytes));
  static_cast<char*>(mapping.base())[0] = 5;

  allocation->reset();

  EXPECT_EQ(static_cast<char*>(mapping.base())[0], 5);
}

TEST_P(MemoryProviderTest, AnIdleDeviceIsHealthy) { EXPECT_THAT(provider_->Probe(), IsOk()); }

INSTANTIATE_TEST_SUITE_P(Providers, MemoryProviderTest,
                         testing::Values(Implementation{"Host", &MakeHost}, Implementation{"Fake", &MakeFake}),
                         [](const auto& instance) { return instance.param.name; });

TEST(HostMemoryTest, ThePoolLimitDefaultsToAtMostHalfOfTheMachine) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto provider, HostMemoryProvider::Create({}));
  const std::int64_t machine_bytes = std::int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);

  EXPECT_GT(provider->device().pool_limit_bytes, 0);
  EXPECT_LE(provider->device().pool_limit_bytes, machine_bytes / 2 + sysconf(_SC_PAGESIZE));
}

TEST(HostMemoryTest, AMissingNumaNodeIsRefusedAndTheOnesThereAreNamed) {
  EXPECT_THAT(HostMemoryProvider::Create({.numa_node = 999}),
              StatusIs(StatusCode::kInvalidArgument, HasSubstr("node 999 does not exist; online are: 0")));
}

TEST(HostMemoryTest, PagesComeFromTheConfiguredNode) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto provider, HostMemoryProvider::Create({.numa_node = 0}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto allocation, provider->Allocate(4096, "test"));
  A8A_ASSERT_OK_AND_ASSIGN(const Mapping mapping, Mapping::Map(allocation->fd(), 4096));
  int mode = -1;
  unsigned long nodes[16] = {};

  ASSERT_EQ(syscall(SYS_get_mempolicy, &mode, nodes, sizeof(nodes) * 8, mapping.base(), MPOL_F_ADDR), 0);

  EXPECT_EQ(mode, MPOL_BIND);
  EXPECT_EQ(nodes[0], 1U);
}

// Pages that are there, of a mapping that this process has not touched itself.
std::int64_t ResidentPages(int fd, std::int64_t size_bytes) {
  const auto mapping = Mapping::Map(fd, size_bytes);
  if (!mapping.ok()) return -1;
  std::vector<unsigned char> pages(static_cast<std::size_t>(size_bytes / 4096));
  if (mincore(mapping->base(), mapping->size(), pages.data()) != 0) return -1;
  return std::count_if(pages.begin(), pages.end(), [](unsigned char page) { return (page & 1) != 0; });
}

TEST(HostMemoryTest, PagesAreAllocatedOnFirstTouchUnlessPrefaulted) {
  constexpr std::int64_t kSizeBytes = 64 * 4096;
  A8A_ASSERT_OK_AND_ASSIGN(const auto lazy, HostMemoryProvider::Create({}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto eager, HostMemoryProvider::Create({.prefault = true}));
  A8A_ASSERT_OK_AND_ASSIGN(const auto untouched, lazy->Allocate(kSizeBytes, "test"));
  A8A_ASSERT_OK_AND_ASSIGN(const auto touched, eager->Allocate(kSizeBytes, "test"));

  EXPECT_EQ(ResidentPages(untouched->fd(), kSizeBytes), 0);
  EXPECT_EQ(ResidentPages(touched->fd(), kSizeBytes), 64);
}

// Huge pages that a mapping in this process has, in bytes.
std::int64_t HugeBytes(const Mapping& mapping) {
  const std::string start = absl::StrCat(absl::Hex(reinterpret_cast<std::uintptr_t>(mapping.base())), "-");
  std::ifstream smaps("/proc/self/smaps");
  bool mine = false;
  for (std::string line; std::getline(smaps, line);) {
    if (absl::StartsWith(line, start)) mine = true;
    std::int64_t kib = 0;
    if (mine && std::sscanf(line.c_str(), "ShmemPmdMapped: %" SCNd64 " kB", &kib) == 1) return kib * 1024;
  }
  return -1;
}

constexpr std::int64_t kHugePageBytes = 2 << 20;

TEST(HostMemoryTest, TransparentHugePagesAreHuge) {
  std::string refused;
  A8A_ASSERT_OK_AND_ASSIGN(
      const auto provider,
      HostMemoryProvider::Create({.huge_pages = HugePages::kTransparent,
                                  .on_small_pages = [&](const std::string& reason) { refused = reason; }}));
  ASSERT_EQ(provider->device().granularity_bytes, kHugePageBytes);
  A8A_ASSERT_OK_AND_ASSIGN(const auto allocation, provider->Allocate(2 * kHugePageBytes, "test"));
  if (!refused.empty()) GTEST_SKIP() << "this kernel gives no huge pages now: " << refused;

  A8A_ASSERT_OK_AND_ASSIGN(const Mapping mapping,
                           Mapping::Map(allocation->fd(), allocation->size_bytes(), kHugePageBytes));
  for (std::size_t i = 0; i < mapping.size(); i += 4096) ASSERT_EQ(static_cast<char*>(mapping.base())[i], 0);
  EXPECT_EQ(HugeBytes(mapping), 2 * kHugePageBytes);
  EXPECT_THAT(provider->Probe(), IsOk());
}

TEST(HostMemoryTest, WhereTheKernelDeclinesPagesAreSmallAndTheReasonIsTold) {
  std::vector<std::string> reasons;
  A8A_ASSERT_OK_AND_ASSIGN(
      const auto provider,
      HostMemoryProvider::Create({.huge_pages = HugePages::kTransparent,
                                  .on_small_pages = [&](const std::string& reason) { reasons.push_back(reason); }}));
  ASSERT_EQ(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), 0);
  const auto first = provider->Allocate(2 * kHugePageBytes, "test");
  const auto second = provider->Allocate(kHugePageBytes, "test");
  ASSERT_EQ(prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0), 0);

  ASSERT_THAT(first, IsOk());
  ASSERT_THAT(second, IsOk());
  EXPECT_THAT(reasons, testing::ElementsAre(HasSubstr("MADV_COLLAPSE"))) << "once, not for every buffer";
  EXPECT_EQ(ResidentPages((*first)->fd(), 2 * kHugePageBytes), 1024);
}

TEST(MappingTest, StartsAtAMultipleOfTheAlignment) {
  A8A_ASSERT_OK_AND_ASSIGN(const UniqueFd fd, CreateSharedMemory("test", 3 * 4096, /*memfd_flags=*/0));
  for (const std::int64_t alignment_bytes : {std::int64_t{4096}, std::int64_t{1} << 16, kHugePageBytes}) {
    A8A_ASSERT_OK_AND_ASSIGN(const Mapping mapping, Mapping::Map(fd.get(), 3 * 4096, alignment_bytes));

    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(mapping.base()) % static_cast<std::uintptr_t>(alignment_bytes), 0U);
    static_cast<char*>(mapping.base())[3 * 4096 - 1] = 1;
  }
  EXPECT_THAT(Mapping::Map(-1, 4096), StatusIs(StatusCode::kInternal));
  EXPECT_THAT(Mapping::Map(fd.get(), std::int64_t{1} << 48, kHugePageBytes), StatusIs(StatusCode::kResourceExhausted));
}

// Sets the number of reserved huge pages while it lives. Root only.
class ReservedHugePages {
 public:
  explicit ReservedHugePages(int count) {
    std::ifstream(kPath) >> before_;
    Write(count);
  }
  ~ReservedHugePages() { Write(before_); }
  [[nodiscard]] static int Now() {
    int count = 0;
    std::ifstream(kPath) >> count;
    return count;
  }

 private:
  static constexpr char kPath[] = "/proc/sys/vm/nr_hugepages";
  static void Write(int count) { std::ofstream(kPath) << count; }
  int before_ = 0;
};

TEST(HostMemoryTest, HugetlbPagesRunOutWithAStatusNotASignal) {
  const ReservedHugePages reserved(2);
  if (ReservedHugePages::Now() != 2) GTEST_SKIP() << "cannot reserve huge pages here (needs root and free memory)";
  A8A_ASSERT_OK_AND_ASSIGN(const auto provider, HostMemoryProvider::Create({.huge_pages = HugePages::kHugetlb}));
  const std::int64_t page_bytes = provider->device().granularity_bytes;

  A8A_ASSERT_OK_AND_ASSIGN(const auto both, provider->Allocate(2 * page_bytes, "test"));
  EXPECT_THAT(provider->Allocate(page_bytes, "test"),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("0 of 2 huge pages of ")));
  A8A_ASSERT_OK_AND_ASSIGN(const Mapping mapping, Mapping::Map(both->fd(), both->size_bytes()));
  static_cast<char*>(mapping.base())[2 * page_bytes - 1] = 1;
}

TEST(HostMemoryTest, RunningOutOfDescriptorsIsResourceExhausted) {
  A8A_ASSERT_OK_AND_ASSIGN(const auto provider, HostMemoryProvider::Create({}));
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit none = {.rlim_cur = 3, .rlim_max = before.rlim_max};  // 0, 1 and 2 are taken
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);

  const auto allocation = provider->Allocate(4096, "test");

  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
  EXPECT_THAT(allocation, StatusIs(StatusCode::kResourceExhausted, HasSubstr("Too many open files")));
}

}  // namespace
}  // namespace a8a::daemon
