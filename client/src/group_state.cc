#include "client/src/group_state.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/src/deadline.h"
#include "client/src/segment_mapper.h"
#include "kernels/base/index.h"
#include "kernels/base/status_macros.h"
#include "kernels/include/control_layout.h"
#include "kernels/include/flags_layout.h"
#include "kernels/include/host_all_to_all.h"

namespace a8a::client {
namespace {

// Answers list every rank once, in order.
template <typename Buffers>
absl::Status CheckRanks(const Buffers& buffers, int world_size, absl::string_view what) {
  if (buffers.size() != world_size) {
    return absl::InternalError(
        absl::StrCat(what, ": the daemon sent ", buffers.size(), " buffers for ", world_size, " ranks"));
  }
  for (int rank = 0; rank < world_size; ++rank) {
    if (buffers[rank].rank() == rank) continue;
    return absl::InternalError(
        absl::StrCat(what, ": the daemon sent rank ", buffers[rank].rank(), " in the place of rank ", rank));
  }
  return absl::OkStatus();
}

v1::JoinGroupRequest MakeJoinRequest(std::uint64_t session_id, const std::string& device, const JoinOptions& options) {
  v1::JoinGroupRequest request;
  request.set_session_id(session_id);
  request.set_name(options.name);
  request.set_rank(options.rank);
  request.set_world_size(options.world_size);
  request.set_channel_count(options.channel_count);
  request.set_device(device);
  request.set_secret(options.secret);
  return request;
}

}  // namespace

absl::StatusOr<std::shared_ptr<GroupState>> GroupState::Join(std::shared_ptr<Session> session,
                                                             const JoinOptions& options) {
  const absl::Time deadline = DeadlineAfter(options.timeout);
  const std::string what = absl::StrCat("join group \"", options.name, "\" as rank ", options.rank);
  if (options.channel_count < 1) {  // on the wire 0 means the default, here it is a mistake
    return absl::InvalidArgumentError(absl::StrCat(what, ": channel_count ", options.channel_count, " is below 1"));
  }
  session->WaitWhileReconnecting(deadline);
  const Holdings::Operation operation(session->holdings());
  A8A_ASSIGN_OR_RETURN(DeviceBinding device, BindDevice(options.device.name, session->devices()));
  v1::JoinGroupResponse response;
  A8A_RETURN_IF_ERROR(session->Call(&DaemonConnection::group, &v1::GroupService::Stub::JoinGroup,
                                    MakeJoinRequest(session->id(), device.daemon_name, options), &response, deadline,
                                    what));
  // From here on the destructor leaves the group.
  std::shared_ptr<GroupState> group(new GroupState(std::move(session), std::move(device.data_plane), options));
  group->id_ = response.group().group_id();
  A8A_RETURN_IF_ERROR(group->ExplainMapping(group->MapSegments(response, deadline)));
  return group;
}

GroupState::GroupState(std::shared_ptr<Session> session, std::unique_ptr<const DataPlane> data_plane,
                       const JoinOptions& options)
    : session_(std::move(session)),
      data_plane_(std::move(data_plane)),
      label_(absl::StrCat("group \"", options.name, "\" rank ", options.rank)),
      timeout_ns_(absl::ToInt64Nanoseconds(ClampTimeout(options.all_to_all_timeout))) {
  view_.rank = options.rank;
  view_.world_size = options.world_size;
  view_.channel_count = options.channel_count;
}

GroupState::~GroupState() {
  if (session_->in_forked_child() || id_ == 0) return;
  v1::LeaveGroupRequest request;
  request.set_session_id(session_->id());
  request.set_group_id(id_);
  const Holdings::Operation operation(session_->holdings());
  session_->holdings()->RemoveGroup(id_);
  session_->holdings()->RemoveBuffer(flags_buffer_id_);
  session_->CallToRelease<v1::LeaveGroupResponse>(&DaemonConnection::group, &v1::GroupService::Stub::LeaveGroup,
                                                  request);
  session_->ForgetGroup(id_);
}

absl::Status GroupState::MapSegments(const v1::JoinGroupResponse& response, absl::Time deadline) {
  if (view_.rank < 0 || view_.rank >= view_.world_size || view_.world_size > kMaxWorldSize) {
    return absl::InternalError(absl::StrCat(label_, ": the daemon took it, though world_size is ", view_.world_size));
  }
  A8A_RETURN_IF_ERROR(CheckRanks(response.flags(), view_.world_size, label_));
  SegmentMapper mapper(*session_, deadline);
  UniqueFd control_fd;
  A8A_ASSIGN_OR_RETURN(control_, mapper.MapControl(*data_plane_, response.control(),
                                                   absl::StrCat(label_, ": control segment"), &control_fd));
  session_->holdings()->AddGroup(id_, std::move(control_fd));
  view_.control = control_->data();
  // Read once: peers can write it.
  view_.block_count = reinterpret_cast<const kernels::GroupControl*>(view_.control)->block_count;
  A8A_RETURN_IF_ERROR(CheckControl());
  A8A_RETURN_IF_ERROR(MapFlags(response, &mapper));
  return CheckFlags();
}

absl::Status GroupState::MapFlags(const v1::JoinGroupResponse& response, SegmentMapper* mapper) {
  for (const v1::RankBuffer& buffer : response.flags()) {
    const std::string what = absl::StrCat(label_, ": flags of rank ", buffer.rank());
    const bool own = buffer.rank() == view_.rank;
    UniqueFd own_fd;
    A8A_ASSIGN_OR_RETURN(std::unique_ptr<Mapping> mapping,
                         mapper->Map(*data_plane_, buffer.ticket(), what, own ? &own_fd : nullptr));
    view_.flags[Index(buffer.rank())] = mapping->data();
    flags_.push_back(std::move(mapping));
    if (!own) continue;
    flags_buffer_id_ = buffer.buffer().buffer_id();
    session_->holdings()->AddBuffer(flags_buffer_id_, buffer.buffer().generation(), std::move(own_fd));
  }
  return absl::OkStatus();
}

absl::Status GroupState::CheckControl() const {
  const kernels::ControlLayout layout{view_.world_size, view_.channel_count};
  if (static_cast<std::size_t>(control_->size_bytes()) < layout.size_bytes()) {
    return absl::InternalError(absl::StrCat(label_, ": the control segment has ", control_->size_bytes(),
                                            " bytes, its layout takes ", layout.size_bytes()));
  }
  const auto* control = reinterpret_cast<const kernels::GroupControl*>(control_->data());
  if (control->magic != kernels::kControlMagic || control->layout_version != kernels::kLayoutVersion) {
    return absl::FailedPreconditionError(absl::StrCat(
        label_, ": the daemon's memory layout has version ", control->layout_version, ", this liba8a knows ",
        kernels::kLayoutVersion, "; daemon and library must be of the same release"));
  }
  if (control->world_size != view_.world_size || control->channel_count != view_.channel_count ||
      !data_plane_->IsBlockCount(view_.block_count) || control->group_id != id_) {
    return absl::InternalError(absl::StrCat(label_, ": the control segment is of group ", control->group_id, " with ",
                                            control->world_size, " ranks, ", control->channel_count, " channels and ",
                                            view_.block_count, " blocks; expected ", id_, ", ", view_.world_size, ", ",
                                            view_.channel_count, " and what its device has"));
  }
  return absl::OkStatus();
}

absl::Status GroupState::CheckFlags() const {
  const kernels::FlagsLayout layout{view_.world_size, view_.channel_count, view_.block_count};
  for (const auto& mapping : flags_) {
    if (static_cast<std::size_t>(mapping->size_bytes()) >= layout.size_bytes()) continue;
    return absl::InternalError(absl::StrCat(label_, ": a flags segment has ", mapping->size_bytes(),
                                            " bytes, its layout takes ", layout.size_bytes()));
  }
  return absl::OkStatus();
}

std::int64_t GroupState::overhead_bytes() const {
  // Shares that add up to the whole: the first ranks bear what does not divide.
  const std::int64_t control_share =
      control_->size_bytes() / view_.world_size + (view_.rank < control_->size_bytes() % view_.world_size ? 1 : 0);
  return flags_[Index(view_.rank)]->size_bytes() + control_share + data_plane_->overhead_bytes();
}

absl::Status GroupState::Explain(const absl::Status& status) const {
  if (!absl::IsAborted(status)) return status;
  const std::string text = session_->GroupEndText(id_);
  // The data plane may have said as much of it as fits the abort word: "rank 1 aborted it" of "rank 1 aborted it: why".
  const absl::string_view message = status.message();
  std::size_t said = std::min(text.size(), message.size());
  while (said > 0 && !absl::EndsWith(message, absl::string_view(text).substr(0, said))) --said;
  return absl::AbortedError(said > 0 || text.empty() ? absl::StrCat(message, text.substr(said))
                                                     : absl::StrCat(message, ": ", text));
}

absl::Status GroupState::ExplainMapping(const absl::Status& status) const {
  if (!absl::IsNotFound(status) || view_.control == nullptr) return status;
  auto* const control = reinterpret_cast<kernels::GroupControl*>(view_.control);
  // Acquire: written by the daemon before it takes tickets back.
  std::uint64_t end = std::atomic_ref<std::uint64_t>(control->abort_word).load(std::memory_order_acquire);
  const std::uint64_t left = std::atomic_ref<std::uint64_t>(control->left_mask).load(std::memory_order_acquire);
  if (end == 0 && left == 0) return status;
  if (end == 0) end = kernels::MakeAbortWord(kernels::AbortReason::kRankLeft, std::countr_zero(left));
  // From the segment, which says it before the daemon's message about it has come.
  return Explain(absl::AbortedError(
      absl::StrCat(label_, ": this rank had not mapped everybody's memory yet: ", kernels::host::DescribeEnd(end))));
}

absl::StatusOr<std::shared_ptr<WindowState>> WindowState::Register(std::shared_ptr<GroupState> group,
                                                                   const std::string& name, const Part& part,
                                                                   absl::Duration timeout) {
  const absl::Time deadline = DeadlineAfter(timeout);
  group->session().WaitWhileReconnecting(deadline);
  const Holdings::Operation operation(group->session().holdings());
  v1::RegisterWindowRequest request;
  request.set_session_id(group->session().id());
  request.set_group_id(group->id());
  request.set_name(name);
  request.set_size_bytes(part.size_bytes);
  if (part.data != nullptr) {
    A8A_ASSIGN_OR_RETURN(IpcMemory shared, group->data_plane().Share(part.data, part.size_bytes));
    request.mutable_user_memory()->set_ipc_handle(std::move(shared.handle));
    request.mutable_user_memory()->set_offset_bytes(shared.offset_bytes);
  }
  v1::RegisterWindowResponse response;
  std::shared_ptr<WindowState> window(new WindowState(std::move(group), name));
  const GroupState& owner = window->group();
  A8A_RETURN_IF_ERROR(owner.session().Call(&DaemonConnection::group, &v1::GroupService::Stub::RegisterWindow, request,
                                           &response, deadline,
                                           absl::StrCat(owner.label(), ": register window \"", name, "\"")));
  // From here on the destructor releases this rank's part.
  window->view_.window_index = response.window_index();
  window->registered_ = true;
  A8A_RETURN_IF_ERROR(owner.ExplainMapping(window->MapParts(response, part, deadline)));
  return window;
}

WindowState::WindowState(std::shared_ptr<GroupState> group, const std::string& name)
    : group_(std::move(group)), name_(name) {}

WindowState::~WindowState() {
  if (!registered_ || group_->session().in_forked_child()) return;
  v1::ReleaseWindowRequest request;
  request.set_session_id(group_->session().id());
  request.set_group_id(group_->id());
  request.set_window_index(view_.window_index);
  const Holdings::Operation operation(group_->session().holdings());
  group_->session().holdings()->RemoveBuffer(buffer_id_);
  group_->session().CallToRelease<v1::ReleaseWindowResponse>(&DaemonConnection::group,
                                                             &v1::GroupService::Stub::ReleaseWindow, request);
}

absl::StatusOr<std::unique_ptr<Mapping>> WindowState::MapUserPart(const v1::RankBuffer& buffer, const Part& own,
                                                                  absl::string_view what) const {
  if (buffer.rank() == group_->view().rank) return std::make_unique<UnownedMapping>(own.data, own.size_bytes);
  const v1::UserMemory& memory = buffer.user_memory();
  return group_->data_plane().MapShared({.handle = memory.ipc_handle(), .offset_bytes = memory.offset_bytes()},
                                        buffer.buffer().size_bytes(), what);
}

absl::Status WindowState::MapParts(const v1::RegisterWindowResponse& response, const Part& own, absl::Time deadline) {
  const std::string label = absl::StrCat(group_->label(), ": window \"", name_, "\"");
  if (view_.window_index < 0 || view_.window_index >= kMaxWindows) {
    return absl::InternalError(absl::StrCat(label, ": the daemon gave it index ", view_.window_index));
  }
  A8A_RETURN_IF_ERROR(CheckRanks(response.buffers(), group_->view().world_size, label));
  SegmentMapper mapper(group_->session(), deadline);
  for (const v1::RankBuffer& buffer : response.buffers()) {
    const std::string what = absl::StrCat(label, " of rank ", buffer.rank());
    const bool own_lease = buffer.rank() == group_->view().rank && !buffer.has_user_memory();
    UniqueFd own_fd;
    A8A_ASSIGN_OR_RETURN(std::unique_ptr<Mapping> mapping,
                         buffer.has_user_memory()
                             ? MapUserPart(buffer, own, what)
                             : mapper.Map(group_->data_plane(), buffer.ticket(), what, own_lease ? &own_fd : nullptr));
    if (own_lease) {
      buffer_id_ = buffer.buffer().buffer_id();
      group_->session().holdings()->AddBuffer(buffer_id_, buffer.buffer().generation(), std::move(own_fd));
    }
    view_.base[Index(buffer.rank())] = mapping->data();
    view_.size_bytes[Index(buffer.rank())] = mapping->size_bytes();
    parts_.push_back(std::move(mapping));
  }
  return absl::OkStatus();
}

std::byte* WindowState::data() const { return view_.base[Index(group_->view().rank)]; }
std::int64_t WindowState::size_bytes() const { return view_.size_bytes[Index(group_->view().rank)]; }

}  // namespace a8a::client
