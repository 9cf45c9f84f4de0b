// Times the kernels of the CUDA data plane, ranks as processes: rank r on device r modulo the number of devices (start
// MPS first if they share one).
//
//   kernel_bench WORLD_SIZE BLOCK_COUNT [BYTES_PER_RANK...]
//
// Every figure: a graph of kLaunches launches (or as many launches one by one), run twice, the second timed with
// events; median of kRepeats, the slowest rank. Bytes are what one rank sends, its own rows included; TB/s counts bytes
// read and written by all ranks. Launches alternate between two windows unless said otherwise.
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "kernels/base/index.h"
#include "kernels/cuda/plan.h"
#include "tests/bench/earlier_structure.h"
#include "tests/gpu/device_case.h"
#include "tests/gpu/gpu_group.h"

namespace a8a::bench {
namespace {

using kernels::AllToAllParams;
using kernels::RowLayout;
using kernels::cuda::Plan;
using kernels::test::DeviceBuffer;
using kernels::test::GpuGroup;
using Matrix = std::vector<std::vector<std::int64_t>>;  // [sender][receiver], rows

constexpr int kLaunches = 50;
constexpr int kRepeats = 11;
constexpr int kWarmUps = 2;
constexpr std::int64_t kRowBytes = 18432;
constexpr std::int64_t kTimeoutNs = 20'000'000'000;

void CheckOk(const absl::Status& status) { A8A_CHECK(status.ok(), status.ToString()); }

// One rank's side of a case, with two plans.
class Job {
 public:
  Job(GpuGroup& group, const Matrix& rows, std::int64_t row_bytes, bool transposed, cudaStream_t stream)
      : group_(group),
        rows_(rows),
        row_bytes_(row_bytes),
        stream_(stream),
        arrays_(4096),
        plan_memory_(2 * kernels::cuda::kPlanBytes) {
    const std::size_t me = Index(group.rank());
    std::vector<std::int32_t> splits;
    std::vector<std::int32_t> offsets;
    std::int64_t most = 0;
    for (const std::int64_t count : rows[me]) splits.push_back(static_cast<std::int32_t>(count));
    for (const auto& of_sender : rows) most = std::max(most, of_sender[me]);
    for (const auto& of_sender : rows) splits.push_back(static_cast<std::int32_t>(of_sender[me]));
    for (std::size_t s = 0; s < rows.size(); ++s)
      offsets.push_back(static_cast<std::int32_t>(most) * static_cast<std::int32_t>(s));
    for (const std::int64_t count : rows[me]) rows_sent_ += count;
    std::int64_t rows_received = 0;
    for (const auto& of_sender : rows) rows_received += of_sender[me];
    A8A_CUDA(cudaMemcpy(arrays_.get(), splits.data(), splits.size() * 4, cudaMemcpyHostToDevice));
    A8A_CUDA(cudaMemcpy(arrays_.get() + 2048, offsets.data(), offsets.size() * 4, cudaMemcpyHostToDevice));
    input_ = std::make_unique<DeviceBuffer>(static_cast<std::size_t>(rows_sent_ * row_bytes) + 16);
    std::vector<std::byte> bytes(static_cast<std::size_t>(rows_sent_ * row_bytes));
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = kernels::test::InputByte(group.rank(), 0, static_cast<std::int64_t>(i));
    }
    A8A_CUDA(cudaMemcpy(input_->get(), bytes.data(), bytes.size(), cudaMemcpyHostToDevice));
    const auto world = static_cast<std::int64_t>(rows.size());
    const RowLayout dense = {1, rows_received, 0, row_bytes, row_bytes};
    const RowLayout columns = {world, most, row_bytes, world * row_bytes, row_bytes};
    for (int w = 0; w < 2; ++w) {
      params_[w] = {.group = &group.view(),
                    .window = &group.window(w),
                    .channel = 0,
                    .input = input_->get(),
                    .input_layout = {1, rows_sent_, 0, row_bytes, row_bytes},
                    .output_offset_bytes = 0,
                    .output_layout = transposed ? columns : dense,
                    .splits = {.input = arrays_.get(),
                               .output = arrays_.get() + rows.size() * 4,
                               .input_offsets = nullptr,
                               .output_offsets = transposed ? arrays_.get() + 2048 : nullptr,
                               .type = kernels::IndexType::kInt32},
                    .timeout_ns = kTimeoutNs};
      plans_[w].device = plan_memory_.get() + Index(w) * kernels::cuda::kPlanBytes;
    }
  }

  void Prepare(int w) { CheckOk(kernels::cuda::Prepare(params_[w], &plans_[w], stream_)); }
  void Prepared(int w) { CheckOk(kernels::cuda::AllToAll(plans_[w], input_->get(), kTimeoutNs, stream_)); }
  void OneShot(int w) { CheckOk(kernels::cuda::AllToAll(params_[w], stream_)); }
  // `kernel`: as PreparedKernel().
  void PreparedBy(const void* kernel, int w, bool overlaps) {
    const kernels::GroupView& view = group_.view();
    void* control = nullptr;
    A8A_CUDA(cudaHostGetDevicePointer(&control, view.control, 0));
    kernels::cuda::PreparedArgs args = {
        static_cast<const kernels::cuda::DevicePlan*>(plans_[w].device),
        input_->get(),
        kTimeoutNs,
        view.flags[Index(view.rank)],
        static_cast<std::byte*>(control),
        kernels::cuda::OffsetsOf({view.world_size, view.channel_count, view.block_count}, 0),
        view.rank,
        view.world_size,
        w,
        0};
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim =
        dim3(static_cast<unsigned>(view.block_count + (kernel == kernels::cuda::PreparedKernel() ? 1 : 0)));
    config.blockDim = dim3(kernels::cuda::kThreads);
    config.stream = stream_;
    config.attrs = &attribute;
    config.numAttrs = overlaps ? 1 : 0;
    void* arguments[] = {&args};
    A8A_CUDA(cudaLaunchKernelExC(&config, kernel, arguments));
  }

  // Of the earlier structure: its table, with the windows and flags of this group.
  void MakeEarlier() {
    const int world = group_.world_size();
    const std::size_t me = Index(group_.rank());
    const std::int64_t warps = std::int64_t{group_.options().block_count} * kernels::cuda::kWarps;
    earlier_memory_ = std::make_unique<DeviceBuffer>(16384);
    for (int w = 0; w < 2; ++w) {
      std::vector<EarlierEntry> table;
      std::int64_t from = 0;
      std::int64_t warp = 0;
      for (int peer = 0; peer < world; ++peer) {
        std::int64_t first = 0;
        for (std::size_t s = 0; s < me; ++s) first += rows_[s][Index(peer)];
        const std::int64_t count = rows_[me][Index(peer)];
        // In proportion to the rows, at least one.
        std::int64_t share = std::max<std::int64_t>(1, rows_sent_ == 0 ? 1 : warps * count / rows_sent_);
        share = std::min(share, warps - warp - (world - 1 - peer));
        table.push_back({input_->get() + from * row_bytes_, group_.window(w).base[Index(peer)] + first * row_bytes_,
                         count, row_bytes_, row_bytes_, warp, share});
        warp += share;
        from += count;
      }
      std::byte* at = earlier_memory_->get() + w * 4096;
      A8A_CUDA(cudaMemcpy(at, table.data(), table.size() * sizeof(EarlierEntry), cudaMemcpyHostToDevice));
      EarlierArgs& args = earlier_[w];
      args.table = reinterpret_cast<const EarlierEntry*>(at);
      args.world_size = world;
      args.row_vectors = row_bytes_ / 16;
      args.epochs = reinterpret_cast<std::uint64_t*>(earlier_memory_->get() + 8192);
      for (int peer = 0; peer < world; ++peer) {
        args.peer_arrivals[peer] = reinterpret_cast<std::uint64_t*>(group_.window(2).base[Index(peer)]);
      }
      args.arrivals = args.peer_arrivals[group_.rank()];
    }
    A8A_CUDA(cudaMemset(earlier_memory_->get() + 8192, 0, 8192));
    A8A_CUDA(cudaMemset(group_.part(2), 0, 64));
    A8A_CUDA(cudaDeviceSynchronize());
    group_.Barrier();
  }
  void Earlier(int w) { LaunchEarlier(earlier_[w], group_.options().block_count, stream_); }

  [[nodiscard]] std::int64_t bytes_sent() const { return rows_sent_ * row_bytes_; }
  // Of dense outputs: whether this rank has what its peers sent.
  void CheckDense(int w) {
    A8A_CUDA(cudaStreamSynchronize(stream_));
    const std::size_t me = Index(group_.rank());
    std::int64_t at = 0;
    for (std::size_t s = 0; s < rows_.size(); ++s) {
      std::int64_t first = 0;
      for (std::size_t d = 0; d < me; ++d) first += rows_[s][d];
      const std::int64_t bytes = rows_[s][me] * row_bytes_;
      const auto got = kernels::test::ReadBack(group_.part(w) + at, bytes, stream_);
      for (std::int64_t i = 0; i < bytes; ++i) {
        const std::byte want = kernels::test::InputByte(static_cast<int>(s), 0, first * row_bytes_ + i);
        A8A_CHECK(got[static_cast<std::size_t>(i)] == want, absl::StrCat("wrong byte ", i, " from rank ", s));
      }
      at += bytes;
    }
  }

 private:
  GpuGroup& group_;
  Matrix rows_;
  std::int64_t row_bytes_;
  cudaStream_t stream_;
  std::int64_t rows_sent_ = 0;
  DeviceBuffer arrays_;
  DeviceBuffer plan_memory_;
  std::unique_ptr<DeviceBuffer> input_;
  std::unique_ptr<DeviceBuffer> earlier_memory_;
  AllToAllParams params_[2];
  Plan plans_[2];
  EarlierArgs earlier_[2] = {};
};

enum class Cadence { kGraph, kOneByOne };

// Microseconds for one call of launch(i), on the slowest rank.
double Time(GpuGroup& group, cudaStream_t stream, const std::function<void(int)>& launch,
            Cadence cadence = Cadence::kGraph) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  const auto launch_all = [&] {
    for (int i = 0; i < kLaunches; ++i) launch(i);
  };
  if (cadence == Cadence::kGraph) {
    A8A_CUDA(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
    launch_all();
    A8A_CUDA(cudaStreamEndCapture(stream, &graph));
    A8A_CUDA(cudaGraphInstantiate(&exec, graph, 0));
  }
  const auto run = [&] {
    if (cadence == Cadence::kGraph) {
      A8A_CUDA(cudaGraphLaunch(exec, stream));
    } else {
      launch_all();
    }
  };
  cudaEvent_t start = nullptr;
  cudaEvent_t stop = nullptr;
  A8A_CUDA(cudaEventCreate(&start));
  A8A_CUDA(cudaEventCreate(&stop));
  std::vector<double> times;
  for (int repeat = 0; repeat < kWarmUps + kRepeats; ++repeat) {
    group.Barrier();
    run();
    A8A_CUDA(cudaEventRecord(start, stream));
    run();
    A8A_CUDA(cudaEventRecord(stop, stream));
    A8A_CUDA(cudaStreamSynchronize(stream));
    float ms = 0;
    A8A_CUDA(cudaEventElapsedTime(&ms, start, stop));
    if (repeat >= kWarmUps) times.push_back(1000.0 * ms / kLaunches);
  }
  A8A_CUDA(cudaEventDestroy(start));
  A8A_CUDA(cudaEventDestroy(stop));
  if (exec != nullptr) A8A_CUDA(cudaGraphExecDestroy(exec));
  if (graph != nullptr) A8A_CUDA(cudaGraphDestroy(graph));
  std::nth_element(times.begin(), times.begin() + kRepeats / 2, times.end());
  group.shared_values()[group.rank()] = times[kRepeats / 2];
  group.Barrier();
  const double slowest = *std::max_element(group.shared_values(), group.shared_values() + group.world_size());
  group.Barrier();
  const absl::Status status = kernels::cuda::TakeStatus(group.view(), 0);
  A8A_CHECK(status.ok(), status.ToString());
  return slowest;
}

void Print(GpuGroup& group, const std::string& name, std::int64_t bytes, double us) {
  if (group.rank() != 0) return;
  std::printf("%d ranks %3d blocks  %-34s %10lld B %8.2f us %6.3f TB/s\n", group.world_size(),
              group.options().block_count, name.c_str(), static_cast<long long>(bytes), us,
              2.0 * group.world_size() * static_cast<double>(bytes) / us / 1e6);
  std::fflush(stdout);
}

Matrix Uniform(int world, std::int64_t rows) {
  return Matrix(Index(world), std::vector<std::int64_t>(Index(world), rows));
}

void BenchSize(GpuGroup& group, cudaStream_t stream, std::int64_t bytes) {
  const int world = group.world_size();
  const Matrix rows = Uniform(world, bytes / kRowBytes / world);
  Job job(group, rows, kRowBytes, /*transposed=*/false, stream);
  for (int w = 0; w < 2; ++w) job.Prepare(w);
  const auto print = [&](const char* name, double us) { Print(group, name, bytes, us); };
  print("prepared", Time(group, stream, [&](int i) { job.Prepared(i % 2); }));
  job.CheckDense(0);
  print("prepared, launched one by one", Time(
                                             group, stream, [&](int i) { job.Prepared(i % 2); }, Cadence::kOneByOne));
  print("prepared, launches not overlapped",
        Time(group, stream, [&](int i) { job.PreparedBy(kernels::cuda::PreparedKernel(), i % 2, false); }));
  print("prepared, no counters",
        Time(group, stream, [&](int i) { job.PreparedBy(PreparedKernelWithoutCounters(), i % 2, true); }));
  job.MakeEarlier();
  print("earlier structure", Time(group, stream, [&](int i) { job.Earlier(i % 2); }));
  job.CheckDense(0);
  print("one-shot", Time(group, stream, [&](int i) { job.OneShot(i % 2); }));
  print("prepared, same window", Time(group, stream, [&](int) { job.Prepared(0); }));
  Job transposed(group, rows, kRowBytes, /*transposed=*/true, stream);
  for (int w = 0; w < 2; ++w) transposed.Prepare(w);
  print("prepared, transposed", Time(group, stream, [&](int i) { transposed.Prepared(i % 2); }));
}

std::string Bench(GpuGroup& group, const std::vector<std::int64_t>& wanted_sizes) {
  cudaStream_t stream = nullptr;
  A8A_CUDA(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking));
  const int world = group.world_size();
  const std::int64_t smallest = kRowBytes * world;
  std::vector<std::int64_t> sizes = {smallest};
  for (const std::int64_t bytes : wanted_sizes) {
    if (bytes > smallest) sizes.push_back(bytes);
  }
  for (const std::int64_t bytes : sizes) BenchSize(group, stream, bytes);
  {
    Job job(group, Uniform(world, 1), kRowBytes, /*transposed=*/false, stream);
    Print(group, "Prepare", smallest, Time(group, stream, [&](int i) { job.Prepare(i % 2); }));
  }
  return "";
}

}  // namespace
}  // namespace a8a::bench

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: kernel_bench WORLD_SIZE BLOCK_COUNT [BYTES_PER_RANK...]\n");
    return 2;
  }
  std::vector<std::int64_t> sizes;
  for (int i = 3; i < argc; ++i) sizes.push_back(std::atoll(argv[i]));
  if (sizes.empty()) sizes = {589824, 2359296, 9437184, 37748736};
  const int world = std::atoi(argv[1]);
  a8a::kernels::test::GpuGroupOptions options;
  options.block_count = std::atoi(argv[2]);
  options.window_count = 3;
  options.window_bytes = *std::max_element(sizes.begin(), sizes.end()) + 4096 * 1024;
  const std::string failure =
      a8a::kernels::test::RunRanks(world, options, [&](auto& group) { return a8a::bench::Bench(group, sizes); });
  if (!failure.empty()) std::fprintf(stderr, "%s\n", failure.c_str());
  return failure.empty() ? 0 : 1;
}
