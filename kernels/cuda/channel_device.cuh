// Where the words of one channel lie, as one block of one rank's grid sees them.
#ifndef A8A_KERNELS_CUDA_CHANNEL_DEVICE_CUH_
#define A8A_KERNELS_CUDA_CHANNEL_DEVICE_CUH_

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/plan.h"
#include "kernels/include/control_layout.h"
#include "kernels/include/flags_layout.h"

namespace a8a::kernels::cuda {

struct Channel {
  std::byte* flags;  // own segment
  ChannelOffsets offsets;
  int rank;
  int world_size;
  int block_count;
  int block;

  template <typename T>
  __device__ static T* At(std::byte* segment, std::uint64_t offset) {
    return reinterpret_cast<T*>(segment + offset);
  }
  __device__ BlockState* block_state(int of_block) const { return At<BlockState>(flags, offsets.blocks) + of_block; }
  __device__ DeviceChannel* shared() const { return At<DeviceChannel>(flags, offsets.shared); }
  __device__ DeviceRank* device_rank() const { return At<DeviceRank>(flags, offsets.rank); }
  // What `peer` tells a block of this rank.
  __device__ StampedWord* DoneFrom(int peer, std::uint64_t epoch, int of_block) const {
    return At<StampedWord>(flags, offsets.done) + BlockWord(epoch, of_block, peer);
  }
  __device__ std::uint64_t* ReadyFrom(int peer, std::uint64_t epoch) const {
    return At<std::uint64_t>(flags, offsets.ready) + BlockWord(epoch, block, peer);
  }
  __device__ ExchangeCell* ExchangeFrom(int peer, std::uint64_t epoch) const {
    return At<ExchangeCell>(flags, offsets.exchange) + RankCell(epoch, peer);
  }
  // What this rank tells the owner of `segment`.
  __device__ std::uint64_t* RevokedTo(std::byte* segment) const {
    return &At<DeviceChannel>(segment, offsets.shared)->revoked_epoch;
  }
  __device__ StampedWord* DoneTo(std::byte* segment, std::uint64_t epoch, int of_block) const {
    return At<StampedWord>(segment, offsets.done) + BlockWord(epoch, of_block, rank);
  }
  __device__ std::uint64_t* ReadyTo(std::byte* segment, std::uint64_t epoch) const {
    return At<std::uint64_t>(segment, offsets.ready) + BlockWord(epoch, block, rank);
  }
  __device__ ExchangeCell* ExchangeTo(std::byte* segment, std::uint64_t epoch) const {
    return At<ExchangeCell>(segment, offsets.exchange) + RankCell(epoch, rank);
  }

 private:
  // As in FlagsLayout.
  __device__ int BlockWord(std::uint64_t epoch, int of_block, int of_rank) const {
    return (static_cast<int>(epoch % 2) * block_count + of_block) * world_size + of_rank;
  }
  __device__ int RankCell(std::uint64_t epoch, int of_rank) const {
    return static_cast<int>(epoch % 2) * world_size + of_rank;
  }
};

}  // namespace a8a::kernels::cuda

#endif  // A8A_KERNELS_CUDA_CHANNEL_DEVICE_CUH_
