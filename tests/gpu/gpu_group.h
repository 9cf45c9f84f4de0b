// A group of rank processes on GPUs, rank r on device r modulo their number: flags and windows in device memory that
// every rank maps, a control segment in host memory, and guard bytes around every window part.
//
//   EXPECT_EQ(RunRanks(2, {.block_count = 8}, [](GpuGroup& group) { ...; return std::string(); }), "");
//
// RunRanks forks; the calling process must never have touched CUDA. The body returns what went wrong, "" if nothing;
// RunRanks returns what the first rank that failed returned.
#ifndef A8A_TESTS_GPU_GPU_GROUP_H_
#define A8A_TESTS_GPU_GPU_GROUP_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/include/all_to_all.h"
#include "kernels/include/cuda_all_to_all.h"

namespace a8a::kernels::test {

inline constexpr std::byte kGuard{0xc3};

struct GpuGroupOptions {
  int block_count = 4;
  int channel_count = 1;
  int window_count = 2;
  std::int64_t window_bytes = std::int64_t{1} << 20;  // of each part, a multiple of 16
};

// What all ranks share, in anonymous memory made before the fork.
struct SharedState;

class GpuGroup {
 public:
  [[nodiscard]] int rank() const { return view_.rank; }
  [[nodiscard]] int world_size() const { return view_.world_size; }
  [[nodiscard]] const GroupView& view() const { return view_; }
  [[nodiscard]] const WindowView& window(int index) const { return windows_[static_cast<std::size_t>(index)]; }
  [[nodiscard]] std::byte* part(int index) const { return window(index).base[static_cast<std::size_t>(rank())]; }
  [[nodiscard]] const GpuGroupOptions& options() const { return options_; }

  // All ranks meet; ends the process if one of them has failed.
  void Barrier();
  // Among all ranks, by its index: for results.
  [[nodiscard]] double* shared_values() const;

  // "" or which guard bytes of this rank are damaged.
  [[nodiscard]] std::string CheckGuards() const;

 private:
  friend std::string RunRanks(int, const GpuGroupOptions&, const std::function<std::string(GpuGroup&)>&);
  GpuGroup() = default;
  void Create(int rank, int world_size, const GpuGroupOptions& options, SharedState* shared);

  GpuGroupOptions options_;
  GroupView view_;
  std::vector<WindowView> windows_;
  SharedState* shared_ = nullptr;
};

[[nodiscard]] std::string RunRanks(int world_size, const GpuGroupOptions& options,
                                   const std::function<std::string(GpuGroup&)>& body);

// "" if a GPU can be used, else why not. Asks in a child process.
[[nodiscard]] std::string WhyNoGpu();

// Whether ranks share the GPU's time under MPS.
[[nodiscard]] bool UnderMps();

// For calls that must succeed: says what failed and ends the process.
void CheckCuda(int cuda_error, const char* what);
#define A8A_CUDA(call) ::a8a::kernels::test::CheckCuda(static_cast<int>(call), #call)

}  // namespace a8a::kernels::test

#endif  // A8A_TESTS_GPU_GPU_GROUP_H_
