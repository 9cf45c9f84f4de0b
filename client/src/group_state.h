// What Group, Window and Plan share: a rank's view of its group and of its windows, and the mappings behind them.
//
// A GroupState is kept by its Group and by the WindowStates made from it, a WindowState by its Window and, for the time
// of a launch, by plans. Both give up their part at the daemon when they go, in a forked child excepted. Constant after
// construction, so that all-to-alls of several threads need no lock.
#ifndef A8A_CLIENT_SRC_GROUP_STATE_H_
#define A8A_CLIENT_SRC_GROUP_STATE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "a8a/client.h"
#include "a8a/v1/group_service.pb.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/src/data_plane.h"
#include "client/src/mapping.h"
#include "client/src/segment_mapper.h"
#include "client/src/session.h"
#include "kernels/include/all_to_all.h"

namespace a8a::client {

class GroupState {
 public:
  // Joins, maps flags and control pages of all ranks, and checks that their layout is the one of this build.
  //
  // Errors: as Client::Join.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<GroupState>> Join(std::shared_ptr<Session> session,
                                                                        const JoinOptions& options);
  // Leaves the group.
  ~GroupState();
  GroupState(const GroupState&) = delete;
  GroupState& operator=(const GroupState&) = delete;

  [[nodiscard]] const kernels::GroupView& view() const { return view_; }
  [[nodiscard]] const DataPlane& data_plane() const { return *data_plane_; }
  [[nodiscard]] Session& session() const { return *session_; }
  [[nodiscard]] std::uint64_t id() const { return id_; }
  // `group "NAME" rank R`, for messages.
  [[nodiscard]] const std::string& label() const { return label_; }
  [[nodiscard]] std::int64_t timeout_ns() const { return timeout_ns_; }
  // As Group::overhead_bytes.
  [[nodiscard]] std::int64_t overhead_bytes() const;

  // ABORTED gets what the daemon has said about the group's end; everything else passes.
  [[nodiscard]] absl::Status Explain(const absl::Status& status) const;
  // What went wrong in fetching memory of the group: a ticket that the daemon knows no more is ABORTED where a rank has
  // left or the group has ended meanwhile.
  [[nodiscard]] absl::Status ExplainMapping(const absl::Status& status) const;

 private:
  GroupState(std::shared_ptr<Session> session, std::unique_ptr<const DataPlane> data_plane, const JoinOptions& options);

  [[nodiscard]] absl::Status MapSegments(const v1::JoinGroupResponse& response, absl::Time deadline);
  [[nodiscard]] absl::Status MapFlags(const v1::JoinGroupResponse& response, SegmentMapper* mapper);
  // The memory is the daemon's and the ranks'; what they say of its shape is checked before it is believed.
  [[nodiscard]] absl::Status CheckControl() const;
  [[nodiscard]] absl::Status CheckFlags() const;

  const std::shared_ptr<Session> session_;
  const std::unique_ptr<const DataPlane> data_plane_;
  const std::string label_;
  const std::int64_t timeout_ns_;
  std::uint64_t id_ = 0;  // 0: not joined
  kernels::GroupView view_;
  std::uint64_t flags_buffer_id_ = 0;  // this rank's
  std::unique_ptr<Mapping> control_;
  std::vector<std::unique_ptr<Mapping>> flags_;  // [r]
};

class WindowState {
 public:
  // This rank's part: of the pool or, if `data` is not null, that memory of the caller's.
  struct Part {
    std::byte* data = nullptr;
    std::int64_t size_bytes = 0;
  };
  // Errors: as Group::RegisterWindow and Group::RegisterWindowOn.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<WindowState>> Register(std::shared_ptr<GroupState> group,
                                                                             const std::string& name, const Part& part,
                                                                             absl::Duration timeout);
  // Releases this rank's part.
  ~WindowState();
  WindowState(const WindowState&) = delete;
  WindowState& operator=(const WindowState&) = delete;

  [[nodiscard]] const kernels::WindowView& view() const { return view_; }
  [[nodiscard]] const GroupState& group() const { return *group_; }
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] std::byte* data() const;
  [[nodiscard]] std::int64_t size_bytes() const;

 private:
  WindowState(std::shared_ptr<GroupState> group, const std::string& name);

  [[nodiscard]] absl::Status MapParts(const v1::RegisterWindowResponse& response, const Part& own, absl::Time deadline);
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Mapping>> MapUserPart(const v1::RankBuffer& buffer, const Part& own,
                                                                     absl::string_view what) const;

  const std::shared_ptr<GroupState> group_;
  const std::string name_;
  kernels::WindowView view_;
  bool registered_ = false;
  std::uint64_t buffer_id_ = 0;                  // this rank's part's, if that is a lease
  std::vector<std::unique_ptr<Mapping>> parts_;  // [r]
};

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_GROUP_STATE_H_
