// Sleeping until a peer rings, as control_layout.h describes for Doorbell.
//
//   waiter:     sequence = ArmDoorbell(mine); look at the cells; if nothing: SleepOnDoorbell(mine, sequence, ...)
//   publisher:  publish cells; FullFence(); RingDoorbell(theirs)
#ifndef A8A_KERNELS_HOST_DOORBELL_H_
#define A8A_KERNELS_HOST_DOORBELL_H_

#include <cstdint>

#include "kernels/include/control_layout.h"

namespace a8a::kernels::host {

// Orders everything before it with everything after it, stores before loads included, for all threads that use it.
void FullFence();

// Announces that the owner is about to sleep; returns the sequence to sleep on.
[[nodiscard]] std::uint32_t ArmDoorbell(Doorbell& doorbell);

void DisarmDoorbell(Doorbell& doorbell);

// Sleeps while nobody has rung since `sequence`, at most `timeout_ns`. May wake early.
void SleepOnDoorbell(Doorbell& doorbell, std::uint32_t sequence, std::int64_t timeout_ns);

// Wakes the owner if it has announced itself.
void RingDoorbell(Doorbell& doorbell);

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_DOORBELL_H_
