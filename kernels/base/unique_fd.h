// Owns one file descriptor and closes it exactly once.
//
// Not thread-safe: one owner at a time, handed on by move.
#ifndef A8A_KERNELS_BASE_UNIQUE_FD_H_
#define A8A_KERNELS_BASE_UNIQUE_FD_H_

#include <unistd.h>

#include <utility>

namespace a8a {

class UniqueFd {
 public:
  UniqueFd() = default;
  // Takes ownership of `fd`; a negative number means none.
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(std::exchange(other.fd_, -1));
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  // Gives the descriptor away without closing it.
  [[nodiscard]] int Release() { return std::exchange(fd_, -1); }
  // Closes what is held and takes `fd`. A failing close is not retried: on Linux the number is free all the same.
  void Reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_ = -1;
};

}  // namespace a8a

#endif  // A8A_KERNELS_BASE_UNIQUE_FD_H_
