#include "client/tools/bench/cuda_roles.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "a8a/client.h"
#include "a8a/group.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/src/cuda_runtime.h"
#include "client/tools/bench/cuda_board.h"
#include "client/tools/shared_memory.h"
#include "kernels/base/status_macros.h"

namespace a8a::bench {
namespace {

using client::CudaToStatus;
using Matrix = std::vector<std::vector<std::int64_t>>;  // [sender][receiver], rows

constexpr absl::Duration kAllToAllTimeout = absl::Seconds(20);
constexpr int kWindows = 2;
constexpr double kZipfExponent = 1.2;

std::size_t Index(std::int64_t value) { return static_cast<std::size_t>(value); }

struct CudaFree {
  void operator()(std::byte* bytes) const { static_cast<void>(cudaFree(bytes)); }
};
using DeviceBytes = std::unique_ptr<std::byte, CudaFree>;

absl::StatusOr<DeviceBytes> Allocate(std::int64_t size_bytes) {
  void* bytes = nullptr;
  A8A_RETURN_IF_ERROR(CudaToStatus(cudaMalloc(&bytes, Index(std::max<std::int64_t>(size_bytes, 1))),
                                   absl::StrCat("allocating ", size_bytes, " bytes on the GPU")));
  return DeviceBytes(static_cast<std::byte*>(bytes));
}

template <typename T>
absl::StatusOr<DeviceBytes> Upload(const std::vector<T>& values) {
  A8A_ASSIGN_OR_RETURN(DeviceBytes bytes, Allocate(static_cast<std::int64_t>(values.size() * sizeof(T))));
  A8A_RETURN_IF_ERROR(CudaToStatus(
      cudaMemcpy(bytes.get(), values.data(), values.size() * sizeof(T), cudaMemcpyHostToDevice), "copying"));
  A8A_RETURN_IF_ERROR(CudaToStatus(cudaDeviceSynchronize(), "copying"));
  return bytes;
}

// What row `row` of a sender's input is filled with.
unsigned char RowByte(int sender, std::int64_t row) {
  return static_cast<unsigned char>(1 + (sender * 37 + row) % 255);
}

Matrix Balanced(int world_size, std::int64_t rows) {
  return Matrix(Index(world_size), std::vector<std::int64_t>(Index(world_size), rows));
}

// Every rank sends `total` rows, in shares of `weight`; what does not divide goes to itself.
Matrix Shared(int world_size, std::int64_t total, const std::function<double(int sender, int receiver)>& weight) {
  Matrix rows = Balanced(world_size, 0);
  for (int sender = 0; sender < world_size; ++sender) {
    double sum = 0;
    for (int receiver = 0; receiver < world_size; ++receiver) sum += weight(sender, receiver);
    std::int64_t left = total;
    for (int receiver = 0; receiver < world_size; ++receiver) {
      const auto share = static_cast<std::int64_t>(static_cast<double>(total) * weight(sender, receiver) / sum);
      rows[Index(sender)][Index(receiver)] = share;
      left -= share;
    }
    rows[Index(sender)][Index(sender)] += left;
  }
  return rows;
}

Matrix RowsOf(CudaCase the_case, int world_size, std::int64_t total) {
  if (the_case == CudaCase::kOneHot) {
    return Shared(world_size, total, [](int, int receiver) { return receiver == 0 ? 1.0 : 0.0; });
  }
  if (the_case == CudaCase::kShift) {
    return Shared(world_size, total,
                  [world_size](int sender, int receiver) { return receiver == (sender + 1) % world_size ? 1.0 : 0.0; });
  }
  if (the_case == CudaCase::kZipf) {
    return Shared(world_size, total, [world_size](int sender, int receiver) {
      return std::pow((receiver - sender + world_size) % world_size + 1, -kZipfExponent);
    });
  }
  return Balanced(world_size, total / world_size);
}

// One rank: its connection, windows and stream.
class CudaRank {
 public:
  CudaRank(CudaBoard* board, int rank) : board_(*board), rank_(rank), world_size_(board->world_size) {}

  absl::Status Run() {
    A8A_RETURN_IF_ERROR(Start());
    for (int i = 0; i < board_.size_count; ++i)
      A8A_RETURN_IF_ERROR(RunSize(RoundToRows(board_.sizes_bytes[i]), i == 0));
    return absl::OkStatus();
  }

 private:
  // Views and splits of one case, and a plan for each window.
  struct Job {
    Matrix rows;
    bool transposed = false;
    DeviceBytes input;
    DeviceBytes splits;
    DeviceBytes offsets;
    std::int64_t input_rows = 0;
    View output;
    Plan plans[kWindows];
  };

  [[nodiscard]] std::int64_t RoundToRows(std::int64_t size_bytes) const {
    const std::int64_t rows = std::max<std::int64_t>(1, size_bytes / board_.row_bytes / world_size_);
    return rows * world_size_ * board_.row_bytes;
  }

  absl::Status Start() {
    int count = 0;
    A8A_RETURN_IF_ERROR(CudaToStatus(cudaGetDeviceCount(&count), "looking for CUDA devices"));
    if (count < 1) return absl::FailedPreconditionError("there is no CUDA device here");
    const int ordinal = rank_ % count;
    A8A_RETURN_IF_ERROR(CudaToStatus(cudaSetDevice(ordinal), "taking a CUDA device"));
    cudaDeviceProp properties = {};
    A8A_RETURN_IF_ERROR(CudaToStatus(cudaGetDeviceProperties(&properties, ordinal), "asking for its name"));
    if (rank_ == 0) std::snprintf(board_.device, sizeof(board_.device), "%d of %s", count, properties.name);
    A8A_ASSIGN_OR_RETURN(client_, Client::Connect({.runtime_dir = board_.runtime_dir, .client_name = "a8a-bench"}));
    A8A_ASSIGN_OR_RETURN(group_, client_->Join({.name = board_.group,
                                                .rank = rank_,
                                                .world_size = world_size_,
                                                .device = Device::Cuda(ordinal),
                                                .all_to_all_timeout = kAllToAllTimeout}));
    if (rank_ == 0) board_.overhead_bytes = group_->overhead_bytes();
    std::int64_t most = 0;
    for (int i = 0; i < board_.size_count; ++i) most = std::max(most, RoundToRows(board_.sizes_bytes[i]));
    // Of a skewed case one rank gets everything.
    const std::int64_t window_bytes = rank_ == 0 ? most * world_size_ : 2 * most;
    for (int w = 0; w < kWindows; ++w) {
      A8A_ASSIGN_OR_RETURN(windows_[w], group_->RegisterWindow(absl::StrCat("w", w), window_bytes));
    }
    return CudaToStatus(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
  }

  absl::Status RunSize(std::int64_t bytes, bool smallest) {
    for (const CudaCase the_case : {CudaCase::kPrepared, CudaCase::kPreparedSingly, CudaCase::kOneShot,
                                    CudaCase::kTransposed, CudaCase::kOneHot, CudaCase::kShift, CudaCase::kZipf}) {
      A8A_RETURN_IF_ERROR(RunCase(the_case, bytes));
    }
    if (smallest) A8A_RETURN_IF_ERROR(RunCase(CudaCase::kPrepare, bytes));
    return RunMemcpy(bytes);
  }

  absl::Status RunCase(CudaCase the_case, std::int64_t bytes) {
    A8A_ASSIGN_OR_RETURN(const std::unique_ptr<Job> job, MakeJob(the_case, bytes / board_.row_bytes));
    for (int w = 0; w < kWindows; ++w) A8A_RETURN_IF_ERROR(Prepare(job.get(), w));
    const auto launch = [&](int i) -> absl::Status {
      const int w = i % kWindows;
      if (the_case == CudaCase::kPrepare) return Prepare(job.get(), w);
      if (the_case == CudaCase::kOneShot) return OneShot(*job, w);
      return group_->AllToAll(job->plans[w], job->input.get(), stream_);
    };
    A8A_RETURN_IF_ERROR(Measure(the_case, bytes, the_case != CudaCase::kPreparedSingly, launch));
    A8A_RETURN_IF_ERROR(group_->CheckStatus(Channel{0}));
    return the_case == CudaCase::kPrepare ? absl::OkStatus() : Check(*job);
  }

  absl::StatusOr<std::unique_ptr<Job>> MakeJob(CudaCase the_case, std::int64_t total) const {
    auto job = std::make_unique<Job>();
    job->rows = RowsOf(the_case, world_size_, total);
    job->transposed = the_case == CudaCase::kTransposed;
    std::vector<std::int64_t> splits = job->rows[Index(rank_)];
    for (const std::int64_t rows : splits) job->input_rows += rows;
    std::int64_t most = 0;
    std::int64_t received = 0;
    for (const auto& of_sender : job->rows) {
      const std::int64_t rows = of_sender[Index(rank_)];
      splits.push_back(rows);
      most = std::max(most, rows);
      received += rows;
    }
    std::vector<std::int64_t> offsets;
    for (int sender = 0; sender < world_size_; ++sender) offsets.push_back(sender * most);
    job->output = View::Contiguous(received, board_.row_bytes);
    if (job->transposed) {
      job->output = {.outer_size = world_size_,
                     .inner_size = most,
                     .outer_stride_bytes = board_.row_bytes,
                     .inner_stride_bytes = world_size_ * board_.row_bytes,
                     .row_bytes = board_.row_bytes};
    }
    std::vector<unsigned char> input;
    for (std::int64_t row = 0; row < job->input_rows; ++row) {
      input.insert(input.end(), Index(board_.row_bytes), RowByte(rank_, row));
    }
    A8A_ASSIGN_OR_RETURN(job->input, Upload(input));
    A8A_ASSIGN_OR_RETURN(job->splits, Upload(splits));
    A8A_ASSIGN_OR_RETURN(job->offsets, Upload(offsets));
    return job;
  }

  [[nodiscard]] Input InputOf(const Job& job) const {
    return {.data = job.input.get(), .view = View::Contiguous(job.input_rows, board_.row_bytes)};
  }
  [[nodiscard]] Output OutputOf(const Job& job, int w) const {
    return {.window = windows_[w].get(), .view = job.output};
  }
  [[nodiscard]] Splits SplitsOf(const Job& job) const {
    const auto* const splits = reinterpret_cast<const std::int64_t*>(job.splits.get());
    const auto* const offsets = reinterpret_cast<const std::int64_t*>(job.offsets.get());
    return Splits::Int64(splits, splits + world_size_, nullptr, job.transposed ? offsets : nullptr);
  }
  absl::Status Prepare(Job* job, int w) {
    return group_->Prepare(&job->plans[w], InputOf(*job), OutputOf(*job, w), SplitsOf(*job), Channel{0}, stream_);
  }
  absl::Status OneShot(const Job& job, int w) {
    return group_->AllToAll(InputOf(job), OutputOf(job, w), SplitsOf(job), Channel{0}, stream_);
  }

  // That every received row of the first window is its sender's.
  absl::Status Check(const Job& job) {
    A8A_RETURN_IF_ERROR(CudaToStatus(cudaStreamSynchronize(stream_), "all-to-alls"));
    const std::int64_t row_bytes = board_.row_bytes;
    const std::int64_t size = (job.output.outer_size - 1) * job.output.outer_stride_bytes +
                              (job.output.inner_size - 1) * job.output.inner_stride_bytes + row_bytes;
    std::vector<unsigned char> got(Index(std::max<std::int64_t>(0, size)));
    A8A_RETURN_IF_ERROR(
        CudaToStatus(cudaMemcpy(got.data(), windows_[0]->data(), got.size(), cudaMemcpyDeviceToHost), "reading back"));
    std::int64_t received = 0;
    for (int sender = 0; sender < world_size_; ++sender) {
      const auto& sent = job.rows[Index(sender)];
      std::int64_t first = 0;
      for (int receiver = 0; receiver < rank_; ++receiver) first += sent[Index(receiver)];
      for (std::int64_t i = 0; i < sent[Index(rank_)]; ++i) {
        const std::int64_t at = job.transposed ? (i * world_size_ + sender) * row_bytes : received++ * row_bytes;
        const unsigned char want = RowByte(sender, first + i);
        const auto* const row = got.data() + at;
        if (std::all_of(row, row + row_bytes, [want](unsigned char byte) { return byte == want; })) continue;
        return absl::DataLossError(absl::StrCat("row ", i, " of rank ", sender, " is not what it sent"));
      }
    }
    return absl::OkStatus();
  }

  absl::Status RunMemcpy(std::int64_t bytes) {
    std::vector<cudaStream_t> streams(Index(world_size_));
    std::vector<cudaEvent_t> joins(Index(world_size_));
    cudaEvent_t fork = nullptr;
    A8A_RETURN_IF_ERROR(CudaToStatus(cudaEventCreateWithFlags(&fork, cudaEventDisableTiming), "making an event"));
    for (std::size_t i = 0; i < streams.size(); ++i) {
      A8A_RETURN_IF_ERROR(
          CudaToStatus(cudaStreamCreateWithFlags(&streams[i], cudaStreamNonBlocking), "making a stream"));
      A8A_RETURN_IF_ERROR(CudaToStatus(cudaEventCreateWithFlags(&joins[i], cudaEventDisableTiming), "making an event"));
    }
    const std::int64_t all = rank_ == 0 ? bytes * world_size_ : 0;
    A8A_ASSIGN_OR_RETURN(const DeviceBytes from, Allocate(all));
    A8A_ASSIGN_OR_RETURN(const DeviceBytes to, Allocate(all));
    const auto copy = [&](int) -> absl::Status {
      if (rank_ != 0) return absl::OkStatus();
      A8A_RETURN_IF_ERROR(CudaToStatus(cudaEventRecord(fork, stream_), "fork"));
      for (std::size_t i = 0; i < streams.size(); ++i) {
        const std::size_t at = i * Index(bytes);
        A8A_RETURN_IF_ERROR(CudaToStatus(cudaStreamWaitEvent(streams[i], fork, 0), "fork"));
        A8A_RETURN_IF_ERROR(CudaToStatus(
            cudaMemcpyAsync(to.get() + at, from.get() + at, Index(bytes), cudaMemcpyDeviceToDevice, streams[i]),
            "copying"));
        A8A_RETURN_IF_ERROR(CudaToStatus(cudaEventRecord(joins[i], streams[i]), "join"));
        A8A_RETURN_IF_ERROR(CudaToStatus(cudaStreamWaitEvent(stream_, joins[i], 0), "join"));
      }
      return absl::OkStatus();
    };
    A8A_RETURN_IF_ERROR(Measure(CudaCase::kMemcpy, bytes, /*in_graph=*/true, copy));
    for (const cudaStream_t stream : streams) cudaStreamDestroy(stream);
    for (const cudaEvent_t event : joins) cudaEventDestroy(event);
    cudaEventDestroy(fork);
    return absl::OkStatus();
  }

  absl::StatusOr<cudaGraphExec_t> Capture(const std::function<absl::Status()>& launches) {
    A8A_RETURN_IF_ERROR(CudaToStatus(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capture"));
    const absl::Status launched = launches();
    cudaGraph_t graph = nullptr;
    const absl::Status captured = CudaToStatus(cudaStreamEndCapture(stream_, &graph), "capture");
    A8A_RETURN_IF_ERROR(launched);
    A8A_RETURN_IF_ERROR(captured);
    cudaGraphExec_t exec = nullptr;
    const absl::Status made = CudaToStatus(cudaGraphInstantiate(&exec, graph, 0), "instantiating the graph");
    cudaGraphDestroy(graph);
    A8A_RETURN_IF_ERROR(made);
    return exec;
  }

  // Times launch(0), launch(1), ...; rank 0 adds the sample.
  absl::Status Measure(CudaCase the_case, std::int64_t bytes, bool in_graph,
                       const std::function<absl::Status(int)>& launch) {
    const auto launches = [&]() -> absl::Status {
      for (int i = 0; i < board_.launches; ++i) A8A_RETURN_IF_ERROR(launch(i));
      return absl::OkStatus();
    };
    cudaGraphExec_t exec = nullptr;
    if (in_graph) {
      A8A_ASSIGN_OR_RETURN(exec, Capture(launches));
    }
    const auto run = [&] {
      return in_graph ? CudaToStatus(cudaGraphLaunch(exec, stream_), "launching the graph") : launches();
    };
    const absl::Status timed = TimeRepeats(run);
    if (exec != nullptr) cudaGraphExecDestroy(exec);
    A8A_RETURN_IF_ERROR(timed);
    board_.barrier.Wait();
    if (rank_ == 0) AddSample(the_case, bytes);
    board_.barrier.Wait();
    return absl::OkStatus();
  }

  absl::Status TimeRepeats(const std::function<absl::Status()>& run) {
    cudaEvent_t start = nullptr;
    cudaEvent_t stop = nullptr;
    A8A_RETURN_IF_ERROR(CudaToStatus(cudaEventCreate(&start), "making an event"));
    A8A_RETURN_IF_ERROR(CudaToStatus(cudaEventCreate(&stop), "making an event"));
    for (int repeat = -kCudaWarmUps; repeat < board_.repeats; ++repeat) {
      board_.barrier.Wait();
      A8A_RETURN_IF_ERROR(run());
      A8A_RETURN_IF_ERROR(CudaToStatus(cudaEventRecord(start, stream_), "timing"));
      A8A_RETURN_IF_ERROR(run());
      A8A_RETURN_IF_ERROR(CudaToStatus(cudaEventRecord(stop, stream_), "timing"));
      A8A_RETURN_IF_ERROR(CudaToStatus(cudaStreamSynchronize(stream_), "all-to-alls"));
      float ms = 0;
      A8A_RETURN_IF_ERROR(CudaToStatus(cudaEventElapsedTime(&ms, start, stop), "timing"));
      if (repeat >= 0) board_.repeat_us[rank_][repeat] = 1000.0 * static_cast<double>(ms) / board_.launches;
    }
    cudaEventDestroy(start);
    cudaEventDestroy(stop);
    return absl::OkStatus();
  }

  void AddSample(CudaCase the_case, std::int64_t bytes) {
    std::vector<double> slowest;
    for (int repeat = 0; repeat < board_.repeats; ++repeat) {
      double most = 0;
      for (int rank = 0; rank < world_size_; ++rank) most = std::max(most, board_.repeat_us[rank][repeat]);
      slowest.push_back(most);
    }
    std::sort(slowest.begin(), slowest.end());
    if (board_.sample_count == kMaxCudaSamples) return;
    board_.samples[board_.sample_count] = {the_case, bytes, slowest[slowest.size() / 2],
                                           slowest[slowest.size() * 95 / 100], slowest.back()};
    ++board_.sample_count;
  }

  CudaBoard& board_;
  const int rank_;
  const int world_size_;
  std::unique_ptr<Client> client_;
  std::unique_ptr<Group> group_;
  std::unique_ptr<Window> windows_[kWindows];
  cudaStream_t stream_ = nullptr;
};

}  // namespace

int RunCudaRole(const tools::RankInvocation& invocation) {
  const auto memory = tools::SharedMemory::Open(invocation.shared_fd, sizeof(CudaBoard));
  if (!memory.ok() || invocation.rank < 0 || invocation.rank >= kMaxWorldSize) {
    std::fprintf(stderr, "a8a-bench: %s\n", memory.status().ToString().c_str());
    return EXIT_FAILURE;
  }
  auto* const board = reinterpret_cast<CudaBoard*>((*memory)->data());
  const absl::Status status = CudaRank(board, invocation.rank).Run();
  if (status.ok()) return EXIT_SUCCESS;
  char* const error = board->errors[invocation.rank];
  std::snprintf(error, sizeof(board->errors[0]), "%s", status.ToString().c_str());
  return EXIT_FAILURE;
}

}  // namespace a8a::bench
