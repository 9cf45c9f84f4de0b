#include "client/src/buffer_state.h"

#include "absl/strings/str_cat.h"
#include "client/src/data_plane.h"
#include "client/src/deadline.h"
#include "client/src/segment_mapper.h"
#include "kernels/base/status_macros.h"

namespace a8a::client {

absl::StatusOr<std::unique_ptr<BufferState>> BufferState::Register(std::shared_ptr<Session> session,
                                                                   const BufferOptions& options) {
  const absl::Time deadline = DeadlineAfter(options.timeout);
  session->WaitWhileReconnecting(deadline);
  const Holdings::Operation operation(session->holdings());
  A8A_ASSIGN_OR_RETURN(const DeviceBinding device, BindDevice(options.device.name, session->devices()));
  v1::RegisterBufferRequest request;
  request.set_session_id(session->id());
  request.set_device(device.daemon_name);
  request.set_size_bytes(options.size_bytes);
  request.set_name(options.name);
  v1::RegisterBufferResponse response;
  const std::string what = absl::StrCat("buffer \"", options.name, "\"");
  A8A_RETURN_IF_ERROR(session->Call(&DaemonConnection::buffer, &v1::BufferService::Stub::RegisterBuffer, request,
                                    &response, deadline, what));
  SegmentMapper mapper(*session, deadline);
  // From here on the destructor ends the lease.
  std::unique_ptr<BufferState> buffer(
      new BufferState(std::move(session), response.buffer().buffer_id(), response.buffer().generation()));
  UniqueFd own_fd;
  A8A_ASSIGN_OR_RETURN(buffer->mapping_, mapper.Map(*device.data_plane, response.ticket(), what, &own_fd));
  buffer->session_->holdings()->AddBuffer(buffer->id_, buffer->generation_, std::move(own_fd));
  return buffer;
}

BufferState::~BufferState() {
  if (session_->in_forked_child()) return;
  v1::ReleaseBufferRequest request;
  request.set_session_id(session_->id());
  request.set_buffer_id(id_);
  request.set_generation(generation_);
  const Holdings::Operation operation(session_->holdings());
  session_->holdings()->RemoveBuffer(id_);
  session_->CallToRelease<v1::ReleaseBufferResponse>(&DaemonConnection::buffer, &v1::BufferService::Stub::ReleaseBuffer,
                                                     request);
  session_->ForgetLease(id_);
}

absl::Status BufferState::status() const {
  const std::string reason = session_->RevocationReason(id_);
  if (reason.empty()) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("buffer ", id_, ": the daemon has ended the lease (", reason, ")"));
}

}  // namespace a8a::client
