// Small kernels around all-to-alls, so that a captured graph makes its splits and data, and judges the result, without
// the host: step k of a run comes from a counter on the device.
//
// In step k, rank s sends SplitAt(s, d, k, tag) rows to rank d; the i-th of them is filled with words that name
// (s, d, i, k, tag). Rows lie contiguously by peer on both sides.
#ifndef A8A_TESTS_GPU_GRAPH_KERNELS_H_
#define A8A_TESTS_GPU_GRAPH_KERNELS_H_

#include <cstddef>
#include <cstdint>

struct CUstream_st;

namespace a8a::kernels::test {

// Rows of a pair are below this.
inline constexpr int kMaxPairRows = 5;

struct StepArgs {
  int rank = 0;
  int world_size = 0;
  std::uint32_t tag = 0;  // tells windows apart
  std::int64_t row_words = 0;
  std::uint64_t* step = nullptr;         // counts replays
  std::int32_t* send_rows = nullptr;     // [world_size]
  std::int32_t* receive_rows = nullptr;  // [world_size]
  std::uint64_t* input = nullptr;        // kMaxPairRows * world_size rows
  std::uint64_t* output = nullptr;       // this rank's part of the window, as many rows
  std::uint64_t* mismatches = nullptr;   // words that are not what they must be
};

// Writes splits and input of the step, and poison over the output.
void LaunchMakeStep(const StepArgs& args, CUstream_st* stream);
// Compares the output, the poison behind the last row included.
void LaunchCheckStep(const StepArgs& args, CUstream_st* stream);
// The next step.
void LaunchNextStep(std::uint64_t* step, CUstream_st* stream);

}  // namespace a8a::kernels::test

#endif  // A8A_TESTS_GPU_GRAPH_KERNELS_H_
