#include "a8a/client.h"

#include <utility>

#include "client/src/buffer_state.h"
#include "client/src/deadline.h"
#include "client/src/group_state.h"
#include "client/src/impl.h"
#include "client/src/session.h"
#include "kernels/base/status_macros.h"

namespace a8a {

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ConnectOptions& options) {
  A8A_ASSIGN_OR_RETURN(
      std::shared_ptr<client::Session> session,
      client::Session::Attach({options.runtime_dir, options.client_name}, client::DeadlineAfter(options.timeout)));
  return std::unique_ptr<Client>(new Client(std::make_unique<Impl>(Impl{std::move(session)})));
}

Client::Client(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

// The session may be kept by groups that should have been destroyed before; it ends here all the same.
Client::~Client() { impl_->session->Close(); }

absl::StatusOr<std::unique_ptr<Group>> Client::Join(const JoinOptions& options) {
  A8A_ASSIGN_OR_RETURN(std::shared_ptr<client::GroupState> state, client::GroupState::Join(impl_->session, options));
  return std::unique_ptr<Group>(new Group(std::make_unique<Group::Impl>(Group::Impl{std::move(state)})));
}

absl::StatusOr<std::unique_ptr<Buffer>> Client::RegisterBuffer(const BufferOptions& options) {
  A8A_ASSIGN_OR_RETURN(std::unique_ptr<client::BufferState> state,
                       client::BufferState::Register(impl_->session, options));
  return std::unique_ptr<Buffer>(new Buffer(std::make_unique<Buffer::Impl>(Buffer::Impl{std::move(state)})));
}

absl::Status Client::status() const { return impl_->session->status(); }
std::uint64_t Client::session_id() const { return impl_->session->id(); }
bool Client::draining() const { return impl_->session->draining(); }

std::vector<Device> Client::devices() const {
  std::vector<Device> devices;
  for (client::DeviceInfo& device : impl_->session->devices()) devices.push_back(Device{std::move(device.name)});
  return devices;
}

Buffer::Buffer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Buffer::~Buffer() = default;

std::byte* Buffer::data() const { return impl_->state->data(); }
std::int64_t Buffer::size_bytes() const { return impl_->state->size_bytes(); }
std::uint64_t Buffer::id() const { return impl_->state->id(); }
absl::Status Buffer::status() const { return impl_->state->status(); }

}  // namespace a8a
