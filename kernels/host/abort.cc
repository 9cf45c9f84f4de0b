#include <atomic>

#include "kernels/host/doorbell.h"
#include "kernels/include/host_all_to_all.h"

namespace a8a::kernels::host {

void AbortGroup(std::byte* control, const ControlLayout& layout, AbortReason reason, int rank) {
  std::uint64_t none = 0;
  std::atomic_ref<std::uint64_t> word(reinterpret_cast<GroupControl*>(control)->abort_word);
  // The first reason stays.
  word.compare_exchange_strong(none, MakeAbortWord(reason, rank), std::memory_order_acq_rel);
  FullFence();
  for (int r = 0; r < layout.world_size; ++r) {
    for (int channel = 0; channel < layout.channel_count; ++channel) {
      RingDoorbell(reinterpret_cast<ChannelControl*>(control + layout.ChannelOffset(r, channel))->doorbell);
    }
  }
}

}  // namespace a8a::kernels::host
