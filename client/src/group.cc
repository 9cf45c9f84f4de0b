#include "a8a/group.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/src/deadline.h"
#include "client/src/group_state.h"
#include "client/src/impl.h"
#include "kernels/base/status_macros.h"

namespace a8a {
namespace {

kernels::RowLayout ToRowLayout(const View& view) {
  return {view.outer_size, view.inner_size, view.outer_stride_bytes, view.inner_stride_bytes, view.row_bytes};
}

kernels::SplitsView ToSplitsView(const Splits& splits) {
  return {splits.input, splits.output, splits.input_offsets, splits.output_offsets,
          splits.type == IndexType::kInt64 ? kernels::IndexType::kInt64 : kernels::IndexType::kInt32};
}

kernels::AllToAllParams MakeParams(const client::GroupState& group, const client::WindowState& window,
                                   const Input& input, const Output& output, const Splits& splits, Channel channel) {
  return {.group = &group.view(),
          .window = &window.view(),
          .channel = channel.index,
          .input = static_cast<const std::byte*>(input.data),
          .input_layout = ToRowLayout(input.view),
          .output_offset_bytes = output.offset_bytes,
          .output_layout = ToRowLayout(output.view),
          .splits = ToSplitsView(splits),
          .timeout_ns = group.timeout_ns()};
}

// Indexes shared memory, so that it is checked before any use.
absl::Status CheckChannel(const client::GroupState& group, Channel channel) {
  if (channel.index >= 0 && channel.index < group.view().channel_count) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(group.label(), ": channel ", channel.index, " is not in [0, ", group.view().channel_count, ")"));
}

absl::Status CheckWindow(const client::GroupState& group, const client::WindowState& window) {
  if (&window.group() == &group) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(group.label(), ": window \"", window.name(), "\" belongs to ",
                                                 window.group().label(), " (group id ", window.group().id(), ", not ",
                                                 group.id(), ")"));
}

}  // namespace

Window::Window(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Window::~Window() = default;

std::byte* Window::data() const { return impl_->state->data(); }
std::int64_t Window::size_bytes() const { return impl_->state->size_bytes(); }
int Window::index() const { return impl_->state->view().window_index; }
const std::string& Window::name() const { return impl_->state->name(); }

Plan::Plan() = default;
Plan::~Plan() = default;
Plan::Plan(Plan&&) noexcept = default;
Plan& Plan::operator=(Plan&&) noexcept = default;

Group::Group(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Group::~Group() = default;

absl::StatusOr<std::unique_ptr<Window>> Group::RegisterWindow(const std::string& name, std::int64_t size_bytes,
                                                              absl::Duration timeout) {
  A8A_ASSIGN_OR_RETURN(std::shared_ptr<client::WindowState> state,
                       client::WindowState::Register(impl_->state, name, {.size_bytes = size_bytes}, timeout));
  return std::unique_ptr<Window>(new Window(std::make_unique<Window::Impl>(Window::Impl{std::move(state)})));
}

absl::StatusOr<std::unique_ptr<Window>> Group::RegisterWindowOn(const std::string& name, void* data,
                                                                std::int64_t size_bytes, absl::Duration timeout) {
  if (data == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(impl_->state->label(), ": window \"", name, "\": data is null"));
  }
  A8A_ASSIGN_OR_RETURN(
      std::shared_ptr<client::WindowState> state,
      client::WindowState::Register(impl_->state, name,
                                    {.data = static_cast<std::byte*>(data), .size_bytes = size_bytes}, timeout));
  return std::unique_ptr<Window>(new Window(std::make_unique<Window::Impl>(Window::Impl{std::move(state)})));
}

absl::StatusOr<std::shared_ptr<client::WindowState>> Group::Impl::WindowOf(const Output& output) const {
  if (output.window == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(state->label(), ": the output names no window"));
  }
  std::shared_ptr<client::WindowState> window = output.window->impl_->state;
  A8A_RETURN_IF_ERROR(CheckWindow(*state, *window));
  return window;
}

absl::Status Group::AllToAll(const Input& input, const Output& output, const Splits& splits, Channel channel,
                             Stream stream) {
  const client::GroupState& group = *impl_->state;
  A8A_RETURN_IF_ERROR(CheckChannel(group, channel));
  A8A_ASSIGN_OR_RETURN(const std::shared_ptr<client::WindowState> window, impl_->WindowOf(output));
  return group.Explain(group.data_plane().AllToAll(MakeParams(group, *window, input, output, splits, channel), stream));
}

absl::Status Group::Prepare(Plan* plan, const Input& input, const Output& output, const Splits& splits, Channel channel,
                            Stream stream) {
  const client::GroupState& group = *impl_->state;
  if (plan == nullptr) return absl::InvalidArgumentError(absl::StrCat(group.label(), ": plan is null"));
  A8A_RETURN_IF_ERROR(CheckChannel(group, channel));
  A8A_ASSIGN_OR_RETURN(const std::shared_ptr<client::WindowState> window, impl_->WindowOf(output));
  // A plan of this group is used again, one of another is replaced: it may be of another kind of device.
  const std::shared_ptr<client::WindowState> previous = plan->impl_ == nullptr ? nullptr : plan->impl_->window.lock();
  if (previous == nullptr || &previous->group() != &group) {
    plan->impl_ = std::make_unique<Plan::Impl>();
    plan->impl_->prepared = group.data_plane().NewPlan();
  }
  plan->impl_->window = window;
  return group.Explain(group.data_plane().Prepare(MakeParams(group, *window, input, output, splits, channel),
                                                  plan->impl_->prepared.get(), stream));
}

absl::Status Group::AllToAll(const Plan& plan, const void* input, Stream stream) {
  const client::GroupState& group = *impl_->state;
  if (plan.impl_ == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(group.label(), ": the plan was never prepared"));
  }
  // Held for the time of the launch.
  const std::shared_ptr<client::WindowState> window = plan.impl_->window.lock();
  if (window == nullptr) {
    return absl::FailedPreconditionError(absl::StrCat(group.label(), ": the plan's window was destroyed"));
  }
  A8A_RETURN_IF_ERROR(CheckWindow(group, *window));
  return group.Explain(group.data_plane().AllToAll(*plan.impl_->prepared, static_cast<const std::byte*>(input),
                                                   group.timeout_ns(), stream));
}

absl::Status Group::CheckStatus(Channel channel) {
  const client::GroupState& group = *impl_->state;
  A8A_RETURN_IF_ERROR(CheckChannel(group, channel));
  return group.Explain(group.data_plane().TakeStatus(group.view(), channel.index));
}

absl::Status Group::Abort(const std::string& message, absl::Duration timeout) {
  const client::GroupState& group = *impl_->state;
  const absl::Time deadline = client::DeadlineAfter(timeout);
  group.session().WaitWhileReconnecting(deadline);
  v1::AbortGroupRequest request;
  request.set_session_id(group.session().id());
  request.set_group_id(group.id());
  request.set_message(message);
  v1::AbortGroupResponse response;
  return group.session().Call(&client::DaemonConnection::group, &v1::GroupService::Stub::AbortGroup, request, &response,
                              deadline, absl::StrCat(group.label(), ": abort"));
}

int Group::rank() const { return impl_->state->view().rank; }
int Group::world_size() const { return impl_->state->view().world_size; }
int Group::channel_count() const { return impl_->state->view().channel_count; }
std::uint64_t Group::id() const { return impl_->state->id(); }
std::int64_t Group::overhead_bytes() const { return impl_->state->overhead_bytes(); }

}  // namespace a8a
