// Failpoints: system calls of the daemon that a test makes fail.
//
//   UniqueFd fd(A8A_FAILPOINT("shared_memory.memfd_create", ::memfd_create(name, flags)));
//
// A name is FILE.CALL and stands for one place in the source. In a build with the option A8A_FAILPOINTS, which only
// builds with tests have, a call that a test has ordered to fail is not made: errno is set, and the value is what such
// a call returns on failure. In all other builds the macro is the call and nothing of this exists.
//
// Orders come through a file that the environment variable A8A_FAILPOINTS names: the daemon maps it when it reaches its
// first failpoint, and puts the names of all there. Without the variable every call is made.
#ifndef A8A_DAEMON_FAILPOINT_H_
#define A8A_DAEMON_FAILPOINT_H_

#ifndef A8A_FAILPOINTS

#define A8A_FAILPOINT(name, ...) (__VA_ARGS__)

#else

#include <sys/mman.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace a8a::daemon::failpoint {

inline constexpr char kBoardVariable[] = "A8A_FAILPOINTS";

// FNV-1a: a name as one word, so that an order is read and withdrawn by one load and store.
constexpr std::uint64_t IdOf(std::string_view name) {
  std::uint64_t id = 0xcbf29ce484222325;
  for (const char c : name) id = (id ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return id;
}

// The next `count` calls after `skip` calls fail with `error`.
struct Order {
  std::atomic<std::uint64_t> id;  // 0: no order. Stored last, with release
  std::atomic<int> error;
  std::atomic<int> skip;
  std::atomic<int> count;
  std::atomic<int> fired;  // how many have failed
};

// What the file holds; all zero when it is made. Two orders are as many as one failure takes so far: a call that fails
// is often followed by a second try.
struct Board {
  std::array<Order, 4> orders;
  std::array<char, 16384> names;  // one a line; written once, by the daemon
};

class Site {
 public:
  explicit constexpr Site(const char* name) : name_(name), id_(IdOf(name)) {}

  [[nodiscard]] const char* name() const { return name_; }
  // Whether this call is to fail; sets errno if so.
  [[nodiscard]] bool Fires() const;

 private:
  const char* name_;
  std::uint64_t id_;
};

// What a call that returns a Result returns when it fails.
template <typename Result>
Result Failure() {
  if constexpr (std::is_same_v<Result, void*>) {
    return MAP_FAILED;
  } else if constexpr (std::is_pointer_v<Result>) {
    return nullptr;
  } else {
    return Result{-1};
  }
}

}  // namespace a8a::daemon::failpoint

// Every site has its entry in a section of its own, which the linker gathers: all are known before any is reached.
#define A8A_FAILPOINT(name, ...)                                                                                \
  ([&] {                                                                                                        \
    static constinit ::a8a::daemon::failpoint::Site a8a_site(name);                                             \
    [[gnu::used, gnu::section("a8a_failpoints")]] static ::a8a::daemon::failpoint::Site* a8a_entry = &a8a_site; \
    return a8a_site.Fires() ? ::a8a::daemon::failpoint::Failure<decltype(__VA_ARGS__)>() : (__VA_ARGS__);       \
  }())

#endif  // A8A_FAILPOINTS

#endif  // A8A_DAEMON_FAILPOINT_H_
