// How a rank waits for its peers: spins, then yields, then sleeps on its doorbell, and looks at the abort word and the
// deadline on the way.
//
//   Waiter waiter(channel, timeout_ns);
//   while (true) {
//     look at all pending cells; if none is pending any more: break
//     if (something came) { waiter.Progress(); continue; }
//     if (Fault fault = waiter.Pause(); fault != Fault::kNone) ...give up...
//   }
#ifndef A8A_KERNELS_HOST_WAIT_H_
#define A8A_KERNELS_HOST_WAIT_H_

#include <cstdint>
#include <optional>

#include "kernels/host/channel.h"
#include "kernels/include/flags_layout.h"

namespace a8a::kernels::host {

// One operation's waits. The clock is read only once a look was in vain; the deadline counts from that moment.
class Waiter {
 public:
  Waiter(const Channel& channel, std::int64_t timeout_ns);
  ~Waiter();
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  // After a look that found nothing. kNone: look again; kAborted or kDeadline: give up.
  [[nodiscard]] Fault Pause();

  // After a look that found something: the next waits start with spinning again.
  void Progress();

  // Moves a deadline that has passed to `grace_ns` from now.
  void Extend(std::int64_t grace_ns);

  // Nanoseconds since the first vain look since the last call; 0 if there was none.
  [[nodiscard]] std::int64_t TakeWaitedNs();

  // Nonzero once the group has ended.
  [[nodiscard]] std::uint64_t abort_word() const;

 private:
  struct Policy {
    int spin_polls;
    int yield_polls;
  };
  static Policy PolicyFor(int world_size);

  void StartClock();
  [[nodiscard]] Fault Check() const;
  void ArmOrSleep();

  const Channel& channel_;
  Doorbell& doorbell_;
  const std::int64_t timeout_ns_;
  Policy policy_ = {};
  int polls_ = 0;
  bool armed_ = false;
  std::uint32_t sequence_ = 0;
  std::optional<std::int64_t> deadline_ns_;  // set with the first vain look of the operation
  std::optional<std::int64_t> waiting_since_ns_;
};

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_WAIT_H_
