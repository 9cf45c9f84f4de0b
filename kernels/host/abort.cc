#include <atomic>

#include "kernels/host/doorbell.h"
#include "kernels/include/host_all_to_all.h"

namespace a8a::kernels::host {

namespace {

void RingAll(std::byte* control, const ControlLayout& layout) {
  FullFence();
  for (int rank = 0; rank < layout.world_size; ++rank) {
    for (int channel = 0; channel < layout.channel_count; ++channel) {
      RingDoorbell(reinterpret_cast<ChannelControl*>(control + layout.ChannelOffset(rank, channel))->doorbell);
    }
  }
}

}  // namespace

void AbortGroup(std::byte* control, const ControlLayout& layout, AbortReason reason, int rank) {
  std::uint64_t none = 0;
  std::atomic_ref<std::uint64_t> word(reinterpret_cast<GroupControl*>(control)->abort_word);
  // The first reason stays.
  word.compare_exchange_strong(none, MakeAbortWord(reason, rank), std::memory_order_acq_rel);
  RingAll(control, layout);
}

void MarkLeft(std::byte* control, const ControlLayout& layout, int rank) {
  std::atomic_ref<std::uint64_t>(reinterpret_cast<GroupControl*>(control)->left_mask)
      .fetch_or(std::uint64_t{1} << rank, std::memory_order_acq_rel);
  RingAll(control, layout);
}

}  // namespace a8a::kernels::host
