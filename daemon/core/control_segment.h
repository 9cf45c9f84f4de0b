// The control segment of one group: a sealed memfd that the daemon and every rank map. Layout and rules are in
// kernels/include/control_layout.h. The daemon reads counters from it and ends the group through it; it trusts no word
// that ranks can write.
//
// An Allocation, so that tickets for it work as for any buffer, but outside the pool: it belongs to the group.
// Thread-safe: all words are accessed atomically.
#ifndef A8A_DAEMON_CORE_CONTROL_SEGMENT_H_
#define A8A_DAEMON_CORE_CONTROL_SEGMENT_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "daemon/core/core.h"
#include "daemon/memory/memory_provider.h"
#include "kernels/base/unique_fd.h"
#include "kernels/include/control_layout.h"

namespace a8a::daemon {

class ControlSegment final : public Allocation {
 public:
  // Errors: RESOURCE_EXHAUSTED (memory or descriptors), INTERNAL.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<ControlSegment>> Create(std::uint64_t group_id,
                                                                              kernels::ControlLayout layout,
                                                                              int block_count);
  // The segment of an earlier daemon, of which `fd` may be a descriptor or anything else. Takes it if it is.
  //
  // Errors: INVALID_ARGUMENT (it is not), RESOURCE_EXHAUSTED (address space).
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<ControlSegment>> Adopt(std::uint64_t group_id,
                                                                             kernels::ControlLayout layout,
                                                                             UniqueFd* fd, FileId file);
  ~ControlSegment() override;
  ControlSegment(const ControlSegment&) = delete;
  ControlSegment& operator=(const ControlSegment&) = delete;

  [[nodiscard]] int fd() const override { return fd_.get(); }
  [[nodiscard]] std::int64_t size_bytes() const override { return static_cast<std::int64_t>(layout_.size_bytes()); }
  [[nodiscard]] FileId file_id() const override;

  // Writes the abort word, unless there is one, and wakes sleeping ranks.
  void Abort(EndReason reason, int rank);
  // Says that a rank has left: whoever waits for it gets ABORTED, the others go on. Wakes sleeping ranks.
  void MarkLeft(int rank);

  // Copies a rank's counters: channels that were used and windows that received.
  void ReadRank(int rank, RankSnapshot* snapshot) const;
  // The sum over all ranks and channels.
  [[nodiscard]] Traffic ReadTraffic() const;

 private:
  [[nodiscard]] static absl::StatusOr<std::byte*> Map(std::uint64_t group_id, int fd, std::size_t size_bytes);

  ControlSegment(UniqueFd fd, std::byte* base, kernels::ControlLayout layout)
      : fd_(std::move(fd)), base_(base), layout_(layout) {}

  const UniqueFd fd_;
  std::byte* const base_;
  const kernels::ControlLayout layout_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CORE_CONTROL_SEGMENT_H_
