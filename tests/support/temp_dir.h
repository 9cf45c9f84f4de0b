// A directory that is removed, with all in it, when this goes out of scope.
#ifndef A8A_TESTS_SUPPORT_TEMP_DIR_H_
#define A8A_TESTS_SUPPORT_TEMP_DIR_H_

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"

namespace a8a::testing {

class TempDir {
 public:
  // Aborts the process when no directory can be made.
  TempDir() {
    const char* parent = std::getenv("TMPDIR");
    path_ = absl::StrCat(parent == nullptr ? "/tmp" : parent, "/a8a-test-XXXXXX");
    A8A_CHECK(::mkdtemp(path_.data()) != nullptr, absl::StrCat("cannot make a directory like ", path_));
  }
  ~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace a8a::testing

#endif  // A8A_TESTS_SUPPORT_TEMP_DIR_H_
