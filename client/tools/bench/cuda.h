// `a8a-bench cuda`: what all-to-alls on GPUs take, by size, skew, layout and cadence, through the public library and a
// running daemon.
//
// Rank r is a process on CUDA device r modulo the number of devices; ranks that share one run at once only under MPS.
#ifndef A8A_CLIENT_TOOLS_BENCH_CUDA_H_
#define A8A_CLIENT_TOOLS_BENCH_CUDA_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/tools/bench/cuda_board.h"
#include "client/tools/progress.h"

namespace a8a::bench {

struct CudaConfig {
  std::string runtime_dir;
  std::string tag;  // starts the names of this run's groups
  std::vector<int> world_sizes = {2, 8};
  // That one rank sends, its own rows included; each is rounded to whole rows for every rank.
  std::vector<std::int64_t> sizes_bytes = {36864, 589824, 2359296, 9437184, 37748736};
  std::int64_t row_bytes = 18432;
  int launches = 50;
  int repeats = 11;
};

struct CudaRecord {
  int world_size = 0;
  CudaSample sample;
};

struct CudaOutcome {
  absl::Status status;
  int interrupted_by = 0;
  std::string device;                          // as the first rank's device is called
  std::map<int, std::int64_t> overhead_bytes;  // by world size: what a8a adds to the windows, on rank 0
  std::vector<CudaRecord> records;
};

// No child process is left when it returns. The calling process must be single-threaded.
[[nodiscard]] CudaOutcome RunCuda(const CudaConfig& config, tools::Progress* progress);

// What was measured, how, and the table last; and the same as one JSON object.
[[nodiscard]] std::string CudaText(const CudaConfig& config, const CudaOutcome& outcome);
[[nodiscard]] std::string CudaJson(const CudaConfig& config, const CudaOutcome& outcome);

}  // namespace a8a::bench

#endif  // A8A_CLIENT_TOOLS_BENCH_CUDA_H_
