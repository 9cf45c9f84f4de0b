#include "client/src/segment_mapper.h"

#include <fcntl.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "kernels/base/status_macros.h"

namespace a8a::client {

absl::StatusOr<std::unique_ptr<Mapping>> SegmentMapper::Map(const DataPlane& data_plane, const v1::Ticket& ticket,
                                                            absl::string_view what, UniqueFd* own_fd) {
  A8A_ASSIGN_OR_RETURN(UniqueFd fd, Fetch(ticket, what, own_fd));
  return data_plane.Map(std::move(fd), ticket.size_bytes(), what);
}

absl::StatusOr<std::unique_ptr<Mapping>> SegmentMapper::MapControl(const DataPlane& data_plane,
                                                                   const v1::Ticket& ticket, absl::string_view what,
                                                                   UniqueFd* own_fd) {
  A8A_ASSIGN_OR_RETURN(UniqueFd fd, Fetch(ticket, what, own_fd));
  return data_plane.MapControl(std::move(fd), ticket.size_bytes(), what);
}

absl::StatusOr<UniqueFd> SegmentMapper::Fetch(const v1::Ticket& ticket, absl::string_view what, UniqueFd* own_fd) {
  if (!connection_.has_value()) {
    A8A_ASSIGN_OR_RETURN(connection_, FdConnection::Open(runtime_dir_, deadline_));
  }
  A8A_ASSIGN_OR_RETURN(FdConnection::Redeemed redeemed,
                       connection_->Redeem(session_id_, ticket.value(), what, deadline_));
  if (redeemed.size_bytes != ticket.size_bytes()) {
    return absl::InternalError(
        absl::StrCat(what, ": fd.sock says ", redeemed.size_bytes, " bytes, the ticket ", ticket.size_bytes()));
  }
  if (own_fd != nullptr) {
    *own_fd = UniqueFd(::fcntl(redeemed.fd.get(), F_DUPFD_CLOEXEC, 0));
    if (!own_fd->valid()) {
      return absl::ResourceExhaustedError(
          absl::StrCat(what, ": this process has no file descriptor left (RLIMIT_NOFILE)"));
    }
  }
  return std::move(redeemed.fd);
}

}  // namespace a8a::client
