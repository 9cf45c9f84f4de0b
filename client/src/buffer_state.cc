#include "client/src/buffer_state.h"

#include "absl/strings/str_cat.h"
#include "client/src/data_plane.h"
#include "client/src/deadline.h"
#include "client/src/segment_mapper.h"
#include "kernels/base/status_macros.h"

namespace a8a::client {
namespace {

// How long the destructor waits for the daemon. What it could not release ends with the session.
constexpr absl::Duration kReleaseTimeout = absl::Seconds(2);

}  // namespace

absl::StatusOr<std::unique_ptr<BufferState>> BufferState::Register(std::shared_ptr<Session> session,
                                                                   const BufferOptions& options) {
  const absl::Time deadline = DeadlineAfter(options.timeout);
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
  A8A_ASSIGN_OR_RETURN(buffer->mapping_, mapper.Map(*device.data_plane, response.ticket(), what));
  return buffer;
}

BufferState::~BufferState() {
  if (session_->in_forked_child()) return;
  v1::ReleaseBufferRequest request;
  request.set_session_id(session_->id());
  request.set_buffer_id(id_);
  request.set_generation(generation_);
  v1::ReleaseBufferResponse response;
  // Nobody is left to be told of a failure; the lease then ends with the session.
  session_
      ->Call(&DaemonConnection::buffer, &v1::BufferService::Stub::ReleaseBuffer, request, &response,
             DeadlineAfter(kReleaseTimeout), absl::StrCat("release buffer ", id_))
      .IgnoreError();
  session_->ForgetLease(id_);
}

absl::Status BufferState::status() const {
  const std::string reason = session_->RevocationReason(id_);
  if (reason.empty()) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("buffer ", id_, ": the daemon has ended the lease (", reason, ")"));
}

}  // namespace a8a::client
