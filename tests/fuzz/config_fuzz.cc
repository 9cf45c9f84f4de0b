// The daemon's config file, through ApplyConfigFile: any bytes are taken or refused with one line that names the place,
// and what was taken can be written down and read again, which a reload relies on.
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "daemon/config_file.h"
#include "kernels/include/limits.h"
#include "tests/fuzz/checks.h"

namespace a8a::daemon {
namespace {

// The file, without a disk. Its name is opened anew for each input, as a reload does.
int ConfigFd() {
  static const int fd = ::memfd_create("a8a.toml", MFD_CLOEXEC);
  A8A_CHECK(fd >= 0, "memfd_create");
  return fd;
}

std::string WriteConfig(const std::uint8_t* data, std::size_t size) {
  const int fd = ConfigFd();
  A8A_CHECK(::ftruncate(fd, 0) == 0, "ftruncate");
  A8A_CHECK(::pwrite(fd, data, size, 0) == static_cast<ssize_t>(size), "pwrite");
  return absl::StrCat("/proc/self/fd/", fd);
}

void CheckRefused(const std::string& path, const absl::Status& status) {
  fuzz::CheckOneLine(status.message());
  A8A_CHECK(absl::IsInvalidArgument(status) && absl::StartsWith(status.message(), path + ":"), status.ToString());
}

void CheckRanges(const Options& options) {
  const bool sizes = options.host_pool_bytes >= 0 && options.host_pool_bytes <= kMaxBufferBytes &&
                     options.cuda_memory.pool_limit_bytes >= 0 &&
                     options.cuda_memory.pool_limit_bytes <= kMaxBufferBytes;
  A8A_CHECK(sizes, absl::StrCat(options.host_pool_bytes, ", ", options.cuda_memory.pool_limit_bytes));
  A8A_CHECK(options.session_max >= 1 && options.group_max >= 1 && options.buffer_max >= 1, "a limit below 1");
  A8A_CHECK(options.socket_mode <= 0777, absl::StrCat("socket_mode ", options.socket_mode));
  A8A_CHECK(options.drain_timeout >= absl::ZeroDuration() && options.ticket_lifetime > absl::ZeroDuration(), "a time");
}

void CheckTaken(const Options& options) {
  CheckRanges(options);
  Options again;
  for (const OptionSpec& spec : OptionTable()) {
    const std::string text = spec.format(options);
    fuzz::CheckOneLine(text);
    const absl::Status status = spec.parse(text, &again);
    A8A_CHECK(status.ok(), absl::StrCat(spec.name, ": ", status.message()));
    A8A_CHECK(spec.format(again) == text, absl::StrCat(spec.name, ": ", text, " became ", spec.format(again)));
  }
}

}  // namespace
}  // namespace a8a::daemon

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace a8a::daemon;
  const std::string path = WriteConfig(data, size);
  Options options;
  const absl::Status status = ApplyConfigFile(path, &options);
  status.ok() ? CheckTaken(options) : CheckRefused(path, status);
  return 0;
}
