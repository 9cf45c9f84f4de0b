// What a rank counts in the control segment, for the daemon to read.
#ifndef A8A_KERNELS_HOST_COUNTERS_H_
#define A8A_KERNELS_HOST_COUNTERS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "kernels/host/channel.h"
#include "kernels/include/control_layout.h"

namespace a8a::kernels::host {

// What one all-to-all moved on this rank, its own rows included.
struct Moved {
  std::int64_t rows_sent = 0;
  std::int64_t rows_received = 0;
  std::int64_t row_bytes = 0;
};

void CountPrepare(const Channel& channel);
void CountAllToAll(const Channel& channel, int window_index, const Moved& moved);
void CountWait(WaitCounters& counters, std::int64_t waited_ns);
void CountError(const Channel& channel, absl::StatusCode code);

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_COUNTERS_H_
