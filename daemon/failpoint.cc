#include "daemon/failpoint.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "kernels/base/check.h"
#include "kernels/base/unique_fd.h"

// Set by the linker around the section of that name. Weak: a program without failpoints has no such section.
extern "C" {
extern a8a::daemon::failpoint::Site* __start_a8a_failpoints[] __attribute__((weak));
extern a8a::daemon::failpoint::Site* __stop_a8a_failpoints[] __attribute__((weak));
}

namespace a8a::daemon::failpoint {
namespace {

void WriteNames(Board* board) {
  char* end = board->names.data();
  for (Site** entry = __start_a8a_failpoints; entry != __stop_a8a_failpoints; ++entry) {
    const std::size_t length = std::strlen((*entry)->name());
    A8A_CHECK(end + length + 1 < board->names.data() + board->names.size(), "more failpoints than fit the board");
    end = static_cast<char*>(std::memcpy(end, (*entry)->name(), length)) + length;
    *end++ = '\n';
  }
}

// A test that cannot order failures must not pass for one in which nothing failed.
Board* OpenBoard() {
  const char* const path = std::getenv(kBoardVariable);
  if (path == nullptr) return nullptr;
  const UniqueFd fd(::open(path, O_RDWR | O_CLOEXEC));
  void* const base = ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  A8A_CHECK(base != MAP_FAILED, std::strerror(errno));
  auto* const board = static_cast<Board*>(base);
  WriteNames(board);
  return board;
}

}  // namespace

bool Site::Fires() const {
  static Board* const board = OpenBoard();
  if (board == nullptr) return false;
  for (Order& order : board->orders) {
    if (order.id.load(std::memory_order_acquire) != id_) continue;
    if (order.skip.fetch_sub(1) > 0 || order.count.fetch_sub(1) <= 0) continue;
    order.fired.fetch_add(1);
    errno = order.error.load();
    return true;
  }
  return false;
}

}  // namespace a8a::daemon::failpoint
