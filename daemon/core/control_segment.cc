#include "daemon/core/control_segment.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/failpoint.h"
#include "daemon/memory/shared_memory.h"
#include "kernels/base/status_macros.h"
#include "kernels/include/host_all_to_all.h"

namespace a8a::daemon {
namespace {

using kernels::ChannelControl;
using kernels::RankControl;

// Relaxed: counters are independent of each other, and a snapshot may be one operation apart.
std::uint64_t Load(const std::uint64_t& word) {
  return std::atomic_ref<std::uint64_t>(const_cast<std::uint64_t&>(word)).load(std::memory_order_relaxed);
}

kernels::WaitCounters ReadWaits(const kernels::WaitCounters& from) {
  kernels::WaitCounters waits = {};
  waits.sum_ns = Load(from.sum_ns);
  for (int i = 0; i < kernels::kWaitBucketCount; ++i) waits.counts[i] = Load(from.counts[i]);
  return waits;
}

ChannelSnapshot ReadChannel(int channel, const ChannelControl& from) {
  ChannelSnapshot snapshot;
  snapshot.channel = channel;
  snapshot.epoch = Load(from.epoch);
  snapshot.all_to_alls = Load(from.all_to_alls);
  snapshot.prepares = Load(from.prepares);
  snapshot.rows_sent = Load(from.rows_sent);
  snapshot.bytes_sent = Load(from.bytes_sent);
  snapshot.rows_received = Load(from.rows_received);
  snapshot.bytes_received = Load(from.bytes_received);
  snapshot.credit_wait = ReadWaits(from.credit_wait);
  snapshot.done_wait = ReadWaits(from.done_wait);
  for (std::size_t i = 0; i < snapshot.errors.size(); ++i) snapshot.errors[i] = Load(from.errors[i]);
  return snapshot;
}

Traffic ReadChannelTraffic(const ChannelControl& from) {
  Traffic traffic = {.all_to_alls = Load(from.all_to_alls),
                     .prepares = Load(from.prepares),
                     .rows_sent = Load(from.rows_sent),
                     .bytes_sent = Load(from.bytes_sent),
                     .rows_received = Load(from.rows_received),
                     .bytes_received = Load(from.bytes_received)};
  for (std::size_t i = 0; i < traffic.errors.size(); ++i) traffic.errors[i] = Load(from.errors[i]);
  return traffic;
}

}  // namespace

absl::StatusOr<std::shared_ptr<ControlSegment>> ControlSegment::Create(std::uint64_t group_id,
                                                                       kernels::ControlLayout layout, int block_count) {
  const std::size_t size_bytes = layout.size_bytes();
  A8A_ASSIGN_OR_RETURN(UniqueFd fd, CreateSharedMemory(absl::StrCat("a8a-control-", group_id),
                                                       static_cast<std::int64_t>(size_bytes), /*memfd_flags=*/0));
  A8A_ASSIGN_OR_RETURN(std::byte* const base, Map(group_id, fd.get(), size_bytes));
  auto* control = new (base) kernels::GroupControl;
  control->magic = kernels::kControlMagic;
  control->layout_version = kernels::kLayoutVersion;
  control->world_size = layout.world_size;
  control->channel_count = layout.channel_count;
  control->block_count = block_count;
  control->group_id = group_id;
  return std::shared_ptr<ControlSegment>(new ControlSegment(std::move(fd), base, layout));
}

absl::StatusOr<std::byte*> ControlSegment::Map(std::uint64_t group_id, int fd, std::size_t size_bytes) {
  void* const base =
      A8A_FAILPOINT("control_segment.map", ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  if (base != MAP_FAILED) return static_cast<std::byte*>(base);
  return absl::ResourceExhaustedError(
      absl::StrCat("control segment of group ", group_id, ": mapping ", size_bytes, " bytes: ", std::strerror(errno)));
}

// Its words are the ranks' as well: that it is the file is all that there is to check.
absl::StatusOr<std::shared_ptr<ControlSegment>> ControlSegment::Adopt(std::uint64_t group_id,
                                                                      kernels::ControlLayout layout, UniqueFd* fd,
                                                                      FileId file) {
  A8A_RETURN_IF_ERROR(CheckSharedMemory(fd->get(), static_cast<std::int64_t>(layout.size_bytes()), file));
  A8A_ASSIGN_OR_RETURN(std::byte* const base, Map(group_id, fd->get(), layout.size_bytes()));
  return std::shared_ptr<ControlSegment>(new ControlSegment(std::move(*fd), base, layout));
}

FileId ControlSegment::file_id() const { return SharedMemoryId(fd_.get()); }

ControlSegment::~ControlSegment() { ::munmap(base_, layout_.size_bytes()); }

void ControlSegment::Abort(EndReason reason, int rank) { kernels::host::AbortGroup(base_, layout_, reason, rank); }

void ControlSegment::MarkLeft(int rank) { kernels::host::MarkLeft(base_, layout_, rank); }

void ControlSegment::ReadRank(int rank, RankSnapshot* snapshot) const {
  const auto& rank_control = *reinterpret_cast<const RankControl*>(base_ + layout_.RankOffset(rank));
  for (int i = 0; i < kMaxWindows; ++i) {
    const kernels::WindowCounters& from = rank_control.windows[i];
    const kernels::WindowCounters window = {Load(from.all_to_alls), Load(from.rows), Load(from.bytes), 0};
    if (window.all_to_alls != 0) snapshot->windows.emplace_back(i, window);
  }
  for (int channel = 0; channel < layout_.channel_count; ++channel) {
    const auto& from = *reinterpret_cast<const ChannelControl*>(base_ + layout_.ChannelOffset(rank, channel));
    if (Load(from.epoch) != 0) snapshot->channels.push_back(ReadChannel(channel, from));
  }
}

Traffic ControlSegment::ReadTraffic() const {
  Traffic traffic;
  for (int rank = 0; rank < layout_.world_size; ++rank) {
    for (int channel = 0; channel < layout_.channel_count; ++channel) {
      const auto& from = *reinterpret_cast<const ChannelControl*>(base_ + layout_.ChannelOffset(rank, channel));
      if (Load(from.epoch) != 0) traffic += ReadChannelTraffic(from);
    }
  }
  return traffic;
}

}  // namespace a8a::daemon
