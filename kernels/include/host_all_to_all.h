// The host data plane: the all-to-all of the design run by the calling thread on shared memory.
//
// Every function is collective over the ranks of the group on one channel, in the same order on every rank. A channel
// is used by one thread at a time; different channels may run at once. No function waits longer than timeout_ns, plus
// kClaimGraceNs for peers that are in the middle of a copy when it has passed.
//
// Errors of the caller that can be seen without the splits (a null pointer, a view outside its window, an input that
// overlaps the output) are INVALID_ARGUMENT, found before anything is published: no epoch is used, and the peers will
// miss this rank. Everything that is found later is reported on both ranks of each pair concerned, is also written to
// the channel's ErrorRecord, and uses the epoch, so that the next one works:
//   INVALID_ARGUMENT     negative split or offset, overflow, overlapping output rows, rows beyond the input view.
//   OUT_OF_RANGE         rows beyond the output view or the window.
//   FAILED_PRECONDITION  ranks disagree: rows, row_bytes, window or operation; or the plan is not valid.
//   DEADLINE_EXCEEDED    a peer did not come in time, or had given up when this rank came.
//   ABORTED              the group has ended; names reason and rank.
// Rows of pairs that are not concerned arrive all the same.
#ifndef A8A_KERNELS_INCLUDE_HOST_ALL_TO_ALL_H_
#define A8A_KERNELS_INCLUDE_HOST_ALL_TO_ALL_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "kernels/include/all_to_all.h"

namespace a8a::kernels::host {

// How long a rank whose deadline has passed still waits for senders that have begun to store into its window: a copy
// of the largest rows of practice takes milliseconds; only a stopped process takes longer.
inline constexpr std::int64_t kClaimGraceNs = 1'000'000'000;

// What Prepare found out about one peer.
struct PairPlan {
  // As sender: rows of the input view and where they go in the peer's part of the window.
  Fault send_fault = Fault::kNotPrepared;
  std::int64_t send_first_row = 0;
  std::int64_t send_rows = 0;
  std::int64_t peer_output_offset_bytes = 0;
  RowLayout peer_layout;
  std::int64_t peer_first_row = 0;
  // As receiver.
  Fault receive_fault = Fault::kNotPrepared;
  std::int64_t receive_first_row = 0;
  std::int64_t receive_rows = 0;
};

// Splits exchanged and checked once, for many all-to-alls on one channel and window. Written by Prepare only; valid
// while its group and window are mapped. One thread at a time.
struct Plan {
  AllToAllParams
      params;  // as given to Prepare; the input pointer is replaced at each launch, splits are not read again
  bool prepared = false;
  std::array<PairPlan, kMaxWorldSize> pairs;
};

// One-shot: reads the splits, exchanges credits, moves the rows. Safe for any order of windows.
[[nodiscard]] absl::Status AllToAll(const AllToAllParams& params);

// Exchanges and checks the splits; moves nothing and does not look at params.input. On error the plan holds what is
// known: all-to-alls with it report the same pairs again and move the others.
[[nodiscard]] absl::Status Prepare(const AllToAllParams& params, Plan* plan);

// Moves the rows of a plan. An output must have been read before the channel's next all-to-all is started; a window
// that the channel's previous epoch wrote too costs one exchange of credits more.
[[nodiscard]] absl::Status AllToAll(const Plan& plan, const std::byte* input, std::int64_t timeout_ns);

// The first error of the channel since the last call, OK if there was none; takes it off the channel. An ended group
// stays ABORTED. From any thread; an error that ends an all-to-all while this runs may be reported, by the next call,
// with the details of the one before.
[[nodiscard]] absl::Status TakeStatus(const GroupView& group, int channel);

// Why a group has ended, by its abort word: "the group has ended: rank 1 died".
[[nodiscard]] std::string DescribeEnd(std::uint64_t abort_word);

// Ends a group from the outside (the daemon): sets the abort word, unless it is set, and wakes every sleeping rank.
// `control` is the group's control segment of `layout`; no word that a rank can write decides what is touched.
void AbortGroup(std::byte* control, const ControlLayout& layout, AbortReason reason, int rank);

// Says that `rank` has left (the daemon) and wakes every sleeping rank. All-to-alls that need nothing more of it go on,
// so that ranks may leave one after the other at the end of a job; whoever waits for it ends with ABORTED.
void MarkLeft(std::byte* control, const ControlLayout& layout, int rank);

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_INCLUDE_HOST_ALL_TO_ALL_H_
