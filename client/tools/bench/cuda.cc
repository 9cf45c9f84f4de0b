#include "client/tools/bench/cuda.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/tools/bench/cuda_roles.h"
#include "client/tools/machine.h"
#include "client/tools/rank_processes.h"
#include "client/tools/shared_memory.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/version.h"

namespace a8a::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr absl::Duration kCudaTick = absl::Milliseconds(100);

struct CaseName {
  const char* system;
  const char* text;
  const char* skew;
  const char* layout;
  const char* cadence;
};

CaseName NameOf(CudaCase the_case) {
  switch (the_case) {
    case CudaCase::kPrepared:
      return {"a8a", "prepared", "none", "contiguous", "graph"};
    case CudaCase::kPreparedSingly:
      return {"a8a", "prepared, launched one by one", "none", "contiguous", "stream"};
    case CudaCase::kOneShot:
      return {"a8a", "one-shot", "none", "contiguous", "graph"};
    case CudaCase::kPrepare:
      return {"a8a", "Prepare alone", "none", "contiguous", "graph"};
    case CudaCase::kTransposed:
      return {"a8a", "prepared, transposed output", "none", "tp2dp", "graph"};
    case CudaCase::kOneHot:
      return {"a8a", "prepared, everything to rank 0", "one-hot", "contiguous", "graph"};
    case CudaCase::kShift:
      return {"a8a", "prepared, everything to the next rank", "shift", "contiguous", "graph"};
    case CudaCase::kZipf:
      return {"a8a", "prepared, Zipf 1.2", "zipf:1.2", "contiguous", "graph"};
    case CudaCase::kMemcpy:
      return {"cudaMemcpyAsync", "cudaMemcpyAsync, one process", "none", "contiguous", "graph"};
  }
  return {"", "", "", "", ""};
}

void CopyText(const std::string& text, char* to, std::size_t size) {
  std::memcpy(to, text.c_str(), std::min(size - 1, text.size()) + 1);
  to[size - 1] = '\0';
}

absl::Status FillBoard(const CudaConfig& config, int world_size, CudaBoard* board) {
  CopyText(config.runtime_dir, board->runtime_dir, sizeof(board->runtime_dir));
  CopyText(absl::StrCat(config.tag, "-", world_size), board->group, sizeof(board->group));
  board->world_size = world_size;
  board->size_count = static_cast<int>(std::min<std::size_t>(config.sizes_bytes.size(), kMaxSizes));
  std::copy_n(config.sizes_bytes.begin(), board->size_count, board->sizes_bytes);
  board->row_bytes = config.row_bytes;
  board->launches = config.launches;
  board->repeats = config.repeats;
  return board->barrier.Init(world_size);
}

absl::Status ErrorOf(const CudaBoard& board, const std::vector<tools::RankProcesses::RankEnd>& failed) {
  for (const auto& end : failed) {
    const char* error = board.errors[end.rank];
    if (*error != '\0') return absl::AbortedError(absl::StrCat("rank ", end.rank, ": ", error));
  }
  return absl::AbortedError(absl::StrCat("rank ", failed[0].rank, " ", failed[0].Describe()));
}

// All cases of one world size; adds to `outcome`.
absl::Status RunGroup(const CudaConfig& config, int world_size, tools::Progress* progress, CudaOutcome* outcome) {
  A8A_ASSIGN_OR_RETURN(const auto memory, tools::SharedMemory::Create(sizeof(CudaBoard)));
  auto* const board = new (memory->data()) CudaBoard();
  A8A_RETURN_IF_ERROR(FillBoard(config, world_size, board));
  A8A_ASSIGN_OR_RETURN(const auto ranks, tools::RankProcesses::Start(
                                             {.role = kCudaRole, .count = world_size, .shared_fd = memory->fd()}));
  const auto end = ranks->Supervise(kCudaTick, [&]() -> absl::Status {
    progress->Update(absl::StrCat(world_size, " ranks: ", board->sample_count.load(), " cases measured"));
    return absl::OkStatus();
  });
  outcome->interrupted_by = end.interrupted_by;
  if (end.interrupted_by != 0) return absl::OkStatus();
  A8A_RETURN_IF_ERROR(end.stopped);
  if (!end.failed.empty()) return ErrorOf(*board, end.failed);
  outcome->device = board->device;
  outcome->overhead_bytes[world_size] = board->overhead_bytes;
  for (int i = 0; i < board->sample_count; ++i) outcome->records.push_back({world_size, board->samples[i]});
  return absl::OkStatus();
}

double TerabytesPerSecond(const CudaRecord& record) {
  return 2.0 * record.world_size * static_cast<double>(record.sample.bytes) / record.sample.median_us / 1e6;
}

std::string Method(const CudaConfig& config) {
  return absl::StrFormat(
      "a graph of %d launches (or as many launches one by one), run twice, the second timed with events; launches\n"
      "alternate between two windows; of each repeat the slowest rank, then over %d repeats after %d that are "
      "dropped;\n"
      "received rows are compared outside of the timed part; rows of %d bytes (--row-bytes); bytes are what one rank\n"
      "sends, its own rows included; TB/s counts bytes read and written by all ranks",
      config.launches, config.repeats, kCudaWarmUps, config.row_bytes);
}

}  // namespace

CudaOutcome RunCuda(const CudaConfig& config, tools::Progress* progress) {
  CudaOutcome outcome;
  for (const int world_size : config.world_sizes) {
    outcome.status = RunGroup(config, world_size, progress, &outcome);
    if (!outcome.status.ok() || outcome.interrupted_by != 0) break;
  }
  return outcome;
}

std::string CudaText(const CudaConfig& config, const CudaOutcome& outcome) {
  std::string text = absl::StrCat("device    ", outcome.device, "; a8a ", kVersion, "\n", Method(config), "\n\n");
  absl::StrAppendFormat(&text, "%5s %-37s %12s %10s %10s %10s %8s\n", "ranks", "case", "bytes", "median us", "p95 us",
                        "max us", "TB/s");
  for (const CudaRecord& record : outcome.records) {
    const CudaSample& sample = record.sample;
    absl::StrAppendFormat(&text, "%5d %-37s %12d %10.2f %10.2f %10.2f %8.3f\n", record.world_size,
                          NameOf(sample.the_case).text, sample.bytes, sample.median_us, sample.p95_us, sample.max_us,
                          TerabytesPerSecond(record));
  }
  return text;
}

std::string CudaJson(const CudaConfig& config, const CudaOutcome& outcome) {
  Json records = Json::array();
  for (const CudaRecord& record : outcome.records) {
    const CaseName name = NameOf(record.sample.the_case);
    records.push_back({{"system", name.system},
                       {"case", name.text},
                       {"world_size", record.world_size},
                       {"bytes_per_pair", record.sample.bytes / record.world_size},
                       {"bytes_moved", record.sample.bytes},
                       {"skew", name.skew},
                       {"layout", name.layout},
                       {"cadence", name.cadence},
                       {"median_us", record.sample.median_us},
                       {"p95_us", record.sample.p95_us},
                       {"max_us", record.sample.max_us}});
  }
  Json overhead = Json::object();
  for (const auto& [world_size, bytes] : outcome.overhead_bytes) overhead[absl::StrCat(world_size)] = bytes;
  const tools::Machine machine = tools::DescribeMachine();
  const Json object = {{"program", "a8a-bench"},
                       {"benchmark", "cuda"},
                       {"version", kVersion},
                       {"device", outcome.device},
                       {"cpu", machine.cpu},
                       {"kernel", machine.kernel},
                       {"how", Method(config)},
                       {"launches", config.launches},
                       {"repeats", config.repeats},
                       {"row_bytes", config.row_bytes},
                       {"overhead_bytes_of_rank_0", overhead},
                       {"records", records}};
  return object.dump(/*indent=*/1, /*indent_char=*/' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

}  // namespace a8a::bench
