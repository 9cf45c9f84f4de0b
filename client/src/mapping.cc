#include "client/src/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "kernels/base/status_macros.h"

namespace a8a::client {
namespace {

class HostMapping final : public Mapping {
 public:
  HostMapping(std::byte* data, std::int64_t size_bytes) : data_(data), size_bytes_(size_bytes) {}
  ~HostMapping() override { ::munmap(data_, static_cast<std::size_t>(size_bytes_)); }
  HostMapping(const HostMapping&) = delete;
  HostMapping& operator=(const HostMapping&) = delete;

  [[nodiscard]] std::byte* data() const override { return data_; }
  [[nodiscard]] std::int64_t size_bytes() const override { return size_bytes_; }

 private:
  std::byte* const data_;
  const std::int64_t size_bytes_;
};

absl::Status CheckDescriptor(int fd, std::int64_t size_bytes, absl::string_view what) {
  struct stat info = {};
  if (::fstat(fd, &info) != 0) return absl::InternalError(absl::StrCat(what, ": fstat: ", std::strerror(errno)));
  if (size_bytes < 1 || info.st_size != size_bytes) {
    return absl::InternalError(
        absl::StrCat(what, ": the descriptor has ", info.st_size, " bytes, the daemon said ", size_bytes));
  }
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0) {
    return absl::InternalError(absl::StrCat(what, ": the descriptor is not sealed against shrinking (seals ", seals,
                                            ", needed ", F_SEAL_SHRINK, ")"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Mapping>> MapHostMemory(UniqueFd fd, std::int64_t size_bytes, absl::string_view what) {
  A8A_RETURN_IF_ERROR(CheckDescriptor(fd.get(), size_bytes, what));
  void* const address =
      ::mmap(nullptr, static_cast<std::size_t>(size_bytes), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) {
    const int error = errno;
    const std::string text = absl::StrCat(what, ": cannot map ", size_bytes, " bytes: ", std::strerror(error));
    return error == ENOMEM ? absl::ResourceExhaustedError(text) : absl::InternalError(text);
  }
  return std::unique_ptr<Mapping>(std::make_unique<HostMapping>(static_cast<std::byte*>(address), size_bytes));
}

}  // namespace a8a::client
