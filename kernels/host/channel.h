// Where the cells, doorbells and counters of one channel lie, as one rank sees them.
//
// Borrows the group; constant after construction.
#ifndef A8A_KERNELS_HOST_CHANNEL_H_
#define A8A_KERNELS_HOST_CHANNEL_H_

#include <cstddef>
#include <cstdint>

#include "kernels/include/all_to_all.h"
#include "kernels/include/control_layout.h"
#include "kernels/include/flags_layout.h"

namespace a8a::kernels::host {

class Channel {
 public:
  // Requires: the group has been checked (params.h) and has this channel.
  Channel(const GroupView& group, int index)
      : group_(group),
        index_(index),
        flags_{group.world_size, group.channel_count, group.block_count},
        control_{group.world_size, group.channel_count} {}

  [[nodiscard]] int index() const { return index_; }
  [[nodiscard]] int rank() const { return group_.rank; }
  [[nodiscard]] int world_size() const { return group_.world_size; }

  [[nodiscard]] ChannelState& state() const { return At<ChannelState>(group_.rank, flags_.StateOffset(index_)); }

  // The credit that this rank, as receiver, gives to `peer`; in the peer's segment.
  [[nodiscard]] CreditCell& CreditTo(int peer, std::uint64_t epoch) const {
    return At<CreditCell>(peer, flags_.CreditOffset(index_, epoch, group_.rank));
  }
  // The credit that `peer` gives to this rank; in the own segment.
  [[nodiscard]] CreditCell& CreditFrom(int peer, std::uint64_t epoch) const {
    return At<CreditCell>(group_.rank, flags_.CreditOffset(index_, epoch, peer));
  }
  // What this rank, as sender, tells `peer`; in the peer's segment.
  [[nodiscard]] DoneCell& DoneTo(int peer, std::uint64_t epoch) const {
    return At<DoneCell>(peer, flags_.DoneOffset(index_, epoch, group_.rank));
  }
  // What `peer`, as sender, tells this rank; in the own segment.
  [[nodiscard]] DoneCell& DoneFrom(int peer, std::uint64_t epoch) const {
    return At<DoneCell>(group_.rank, flags_.DoneOffset(index_, epoch, peer));
  }

  [[nodiscard]] ChannelControl& control() const { return ControlOf(group_.rank); }
  [[nodiscard]] Doorbell& DoorbellOf(int rank) const { return ControlOf(rank).doorbell; }
  [[nodiscard]] WindowCounters& window_counters(int window_index) const {
    auto* rank = reinterpret_cast<RankControl*>(group_.control + control_.RankOffset(group_.rank));
    return rank->windows[window_index];
  }
  [[nodiscard]] std::uint64_t& abort_word() const {
    return reinterpret_cast<GroupControl*>(group_.control)->abort_word;
  }
  [[nodiscard]] std::uint64_t& left_mask() const { return reinterpret_cast<GroupControl*>(group_.control)->left_mask; }

 private:
  template <typename T>
  [[nodiscard]] T& At(int rank, std::size_t offset) const {
    return *reinterpret_cast<T*>(group_.flags[static_cast<std::size_t>(rank)] + offset);
  }
  [[nodiscard]] ChannelControl& ControlOf(int rank) const {
    return *reinterpret_cast<ChannelControl*>(group_.control + control_.ChannelOffset(rank, index_));
  }

  const GroupView& group_;
  int index_;
  FlagsLayout flags_;
  ControlLayout control_;
};

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_CHANNEL_H_
