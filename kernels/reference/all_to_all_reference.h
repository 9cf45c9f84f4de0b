// The oracle: what an all-to-all must leave in every rank's output, computed row by row and byte by byte with all
// ranks' data at hand. Slow and plain on purpose, and sharing no code with the data planes that are compared with it.
#ifndef A8A_KERNELS_REFERENCE_ALL_TO_ALL_REFERENCE_H_
#define A8A_KERNELS_REFERENCE_ALL_TO_ALL_REFERENCE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/include/all_to_all.h"

namespace a8a::kernels::reference {

// One rank's part in an all-to-all. Splits and offsets as in SplitsView; empty offsets mean prefix sums.
struct RankData {
  std::span<const std::byte> input;  // from the start of the input view on
  RowLayout input_layout;
  std::vector<std::int64_t> input_splits;
  std::vector<std::int64_t> input_offsets;
  std::span<std::byte> output;  // the rank's part of the window: rows are written, all else stays as it is
  std::int64_t output_offset_bytes = 0;
  RowLayout output_layout;
  std::vector<std::int64_t> output_splits;
  std::vector<std::int64_t> output_offsets;
};

// Why rows of a pair do not move.
enum class PairVerdict { kMoved, kSenderInvalid, kReceiverInvalid, kRowBytesDiffer, kSplitsDiffer };

// Moves all rows. verdicts[s][d] is that of rows from rank s to rank d.
std::vector<std::vector<PairVerdict>> AllToAll(std::span<RankData> ranks);

}  // namespace a8a::kernels::reference

#endif  // A8A_KERNELS_REFERENCE_ALL_TO_ALL_REFERENCE_H_
