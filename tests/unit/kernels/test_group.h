// A group in one process: flags, control and windows in shared memory, a view of them for each rank, and guard bytes
// around every segment.
//
// Each rank has its own mapping of the one memory file, as separate processes would: a pointer into another rank's
// mapping works by accident only here, and the input checks see distinct addresses. Under ThreadSanitizer all ranks
// share one mapping, since it tracks addresses and would not see a race between two mappings.
#ifndef A8A_TESTS_UNIT_KERNELS_TEST_GROUP_H_
#define A8A_TESTS_UNIT_KERNELS_TEST_GROUP_H_

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "kernels/host/channel.h"
#include "kernels/include/all_to_all.h"
#include "kernels/include/host_all_to_all.h"

namespace a8a::kernels::test {

inline constexpr std::int64_t kSecondNs = 1'000'000'000;
// Long enough never to pass by accident, on a loaded machine and under a sanitizer.
inline constexpr std::int64_t kLongTimeoutNs = 60 * kSecondNs;
// For deadlines that are meant to pass.
inline constexpr std::int64_t kShortTimeoutNs = kSecondNs / 20;

class TestGroup {
 public:
  // window_sizes[w][r]: bytes of the part of rank r in window w.
  TestGroup(int world_size, int channel_count, std::vector<std::vector<std::int64_t>> window_sizes);
  // All parts of equal size.
  static TestGroup WithWindows(int world_size, int channel_count, int window_count, std::int64_t size_bytes);
  ~TestGroup();
  TestGroup(const TestGroup&) = delete;
  TestGroup& operator=(const TestGroup&) = delete;

  [[nodiscard]] int world_size() const { return world_size_; }
  [[nodiscard]] const GroupView& group(int rank) const { return groups_[static_cast<std::size_t>(rank)]; }
  [[nodiscard]] const WindowView& window(int rank, int window_index) const {
    return windows_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(window_index)];
  }
  // A rank's part of a window, in its own mapping.
  [[nodiscard]] std::span<std::byte> Part(int rank, int window_index) const;

  [[nodiscard]] host::Channel channel(int rank, int index = 0) const { return {group(rank), index}; }
  [[nodiscard]] ControlLayout control_layout() const { return {world_size_, channel_count_}; }
  [[nodiscard]] std::byte* control() const { return groups_[0].control; }
  void Abort(AbortReason reason, int rank) { host::AbortGroup(control(), control_layout(), reason, rank); }

  // As if `epoch` all-to-alls had been done on the channel by all ranks.
  void PresetEpoch(int channel, std::uint64_t epoch);

  // Runs body(rank) on a thread per rank, and joins them.
  void Run(const std::function<void(int rank)>& body) const;
  void Run(const std::vector<int>& ranks, const std::function<void(int rank)>& body) const;

  // Guard bytes between the segments that are not as they were.
  [[nodiscard]] std::int64_t CountDamagedGuardBytes() const;

 private:
  struct Segment {
    std::size_t offset;
    std::size_t size;
  };
  Segment AddSegment(std::size_t size);
  void Map(int rank, std::byte* base);
  void FillGuards();

  int world_size_;
  int channel_count_;
  Segment control_;
  std::vector<Segment> flags_;
  std::vector<std::vector<Segment>> parts_;  // [window][rank]
  std::vector<std::vector<std::int64_t>> window_sizes_;
  std::vector<Segment> guards_;
  std::size_t size_bytes_ = 0;
  std::vector<std::byte*> mappings_;
  std::vector<GroupView> groups_;
  std::vector<std::vector<WindowView>> windows_;  // [rank][window]
};

// Waits until `done` is true, without sleeping through anything it depends on; fails the test after a minute.
void WaitUntil(const std::function<bool()>& done);

}  // namespace a8a::kernels::test

#endif  // A8A_TESTS_UNIT_KERNELS_TEST_GROUP_H_
