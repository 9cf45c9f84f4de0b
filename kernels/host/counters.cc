#include "kernels/host/counters.h"

#include <algorithm>
#include <atomic>
#include <bit>

namespace a8a::kernels::host {
namespace {

// For words that only the thread on this channel writes. Relaxed: a reader may see counters one operation apart.
void Add(std::uint64_t& counter, std::uint64_t amount) {
  std::atomic_ref<std::uint64_t> word(counter);
  word.store(word.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

// For words that all channels of a rank share.
void AddShared(std::uint64_t& counter, std::uint64_t amount) {
  std::atomic_ref<std::uint64_t>(counter).fetch_add(amount, std::memory_order_relaxed);
}

}  // namespace

void CountPrepare(const Channel& channel) { Add(channel.control().prepares, 1); }

void CountAllToAll(const Channel& channel, int window_index, const Moved& moved) {
  const auto row_bytes = static_cast<std::uint64_t>(moved.row_bytes);
  const auto sent = static_cast<std::uint64_t>(moved.rows_sent);
  const auto received = static_cast<std::uint64_t>(moved.rows_received);
  ChannelControl& control = channel.control();
  Add(control.rows_sent, sent);
  Add(control.bytes_sent, sent * row_bytes);
  Add(control.rows_received, received);
  Add(control.bytes_received, received * row_bytes);
  Add(control.all_to_alls, 1);
  WindowCounters& window = channel.window_counters(window_index);
  AddShared(window.rows, received);
  AddShared(window.bytes, received * row_bytes);
  AddShared(window.all_to_alls, 1);
}

void CountWait(WaitCounters& counters, std::int64_t waited_ns) {
  const auto ns = static_cast<std::uint64_t>(std::max<std::int64_t>(waited_ns, 0));
  const int bucket = std::clamp(static_cast<int>(std::bit_width(ns)) - 1, 0, kWaitBucketCount - 1);
  Add(counters.counts[bucket], 1);
  Add(counters.sum_ns, ns);
}

void CountError(const Channel& channel, absl::StatusCode code) {
  Add(channel.control().errors[static_cast<int>(code)], 1);
}

}  // namespace a8a::kernels::host
