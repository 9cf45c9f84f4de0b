#include "tests/unit/kernels/test_group.h"

#include <sys/mman.h>
#include <unistd.h>

#include <numeric>
#include <thread>

#include "gtest/gtest.h"
#include "kernels/base/check.h"
#include "kernels/base/unique_fd.h"

namespace a8a::kernels::test {
namespace {

// Larger than any row of the tests, so that a row that goes astray leaves a trace.
constexpr std::size_t kGuardBytes = 4096;
constexpr std::byte kGuardByte{0xc7};

#if defined(__SANITIZE_THREAD__)
constexpr bool kOneMapping = true;
#else
constexpr bool kOneMapping = false;
#endif

std::size_t RoundUp(std::size_t size) { return (size + kGuardBytes - 1) / kGuardBytes * kGuardBytes; }

UniqueFd MakeMemory(std::size_t size) {
  UniqueFd fd(::memfd_create("a8a-test-group", MFD_CLOEXEC));
  A8A_CHECK(fd.valid() && ::ftruncate(fd.get(), static_cast<off_t>(size)) == 0, "cannot make a memory file");
  return fd;
}

std::byte* MapMemory(const UniqueFd& fd, std::size_t size) {
  void* base = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  A8A_CHECK(base != MAP_FAILED, "cannot map a memory file");
  return static_cast<std::byte*>(base);
}

}  // namespace

TestGroup TestGroup::WithWindows(int world_size, int channel_count, int window_count, std::int64_t size_bytes) {
  const std::vector<std::int64_t> parts(static_cast<std::size_t>(world_size), size_bytes);
  return {world_size, channel_count, {static_cast<std::size_t>(window_count), parts}};
}

TestGroup::TestGroup(int world_size, int channel_count, std::vector<std::vector<std::int64_t>> window_sizes)
    : world_size_(world_size), channel_count_(channel_count), window_sizes_(std::move(window_sizes)) {
  control_ = AddSegment(control_layout().size_bytes());
  const FlagsLayout flags{world_size, channel_count, /*block_count=*/0};
  for (int rank = 0; rank < world_size; ++rank) flags_.push_back(AddSegment(flags.size_bytes()));
  for (const auto& sizes : window_sizes_) {
    auto& parts = parts_.emplace_back();
    for (const std::int64_t size : sizes) parts.push_back(AddSegment(static_cast<std::size_t>(size)));
  }
  guards_.push_back({size_bytes_, kGuardBytes});
  size_bytes_ += kGuardBytes;

  const UniqueFd fd = MakeMemory(size_bytes_);
  groups_.resize(static_cast<std::size_t>(world_size));
  windows_.resize(static_cast<std::size_t>(world_size));
  for (int rank = 0; rank < world_size; ++rank) {
    if (rank == 0 || !kOneMapping) mappings_.push_back(MapMemory(fd, size_bytes_));
    Map(rank, mappings_.back());
  }
  FillGuards();
}

TestGroup::~TestGroup() {
  for (std::byte* base : mappings_) ::munmap(base, size_bytes_);
}

// A guard up to the next page, then the segment; the rest of its last page is the next guard's first part.
TestGroup::Segment TestGroup::AddSegment(std::size_t size) {
  const std::size_t offset = RoundUp(size_bytes_ + kGuardBytes);
  guards_.push_back({size_bytes_, offset - size_bytes_});
  size_bytes_ = offset + size;
  return {offset, size};
}

void TestGroup::Map(int rank, std::byte* base) {
  GroupView& group = groups_[static_cast<std::size_t>(rank)];
  group.rank = rank;
  group.world_size = world_size_;
  group.channel_count = channel_count_;
  group.control = base + control_.offset;
  for (std::size_t r = 0; r < flags_.size(); ++r) group.flags[r] = base + flags_[r].offset;
  for (std::size_t w = 0; w < parts_.size(); ++w) {
    WindowView& window = windows_[static_cast<std::size_t>(rank)].emplace_back();
    window.window_index = static_cast<int>(w);
    for (std::size_t r = 0; r < parts_[w].size(); ++r) {
      window.base[r] = base + parts_[w][r].offset;
      window.size_bytes[r] = window_sizes_[w][r];
    }
  }
}

void TestGroup::FillGuards() {
  for (const Segment& guard : guards_) std::fill_n(mappings_[0] + guard.offset, guard.size, kGuardByte);
}

std::int64_t TestGroup::CountDamagedGuardBytes() const {
  std::int64_t damaged = 0;
  for (const Segment& guard : guards_) {
    const std::byte* begin = mappings_[0] + guard.offset;
    damaged += static_cast<std::int64_t>(guard.size) - std::count(begin, begin + guard.size, kGuardByte);
  }
  return damaged;
}

std::span<std::byte> TestGroup::Part(int rank, int window_index) const {
  const WindowView& view = window(rank, window_index);
  return {view.base[static_cast<std::size_t>(rank)],
          static_cast<std::size_t>(view.size_bytes[static_cast<std::size_t>(rank)])};
}

void TestGroup::PresetEpoch(int channel_index, std::uint64_t epoch) {
  for (int rank = 0; rank < world_size_; ++rank) channel(rank, channel_index).state().epoch = epoch;
}

void TestGroup::Run(const std::function<void(int rank)>& body) const {
  std::vector<int> ranks(static_cast<std::size_t>(world_size_));
  std::iota(ranks.begin(), ranks.end(), 0);
  Run(ranks, body);
}

void TestGroup::Run(const std::vector<int>& ranks, const std::function<void(int rank)>& body) const {
  std::vector<std::thread> threads;
  for (const int rank : ranks) threads.emplace_back([&body, rank] { body(rank); });
  for (std::thread& thread : threads) thread.join();
}

void WaitUntil(const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
  while (!done()) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "the awaited state did not come";
    std::this_thread::yield();
  }
}

}  // namespace a8a::kernels::test
