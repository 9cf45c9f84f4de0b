// Turns the tickets of one answer of the daemon into mapped memory, over one connection to fd.sock.
//
// Not thread-safe; lives as long as one call of the public interface.
#ifndef A8A_CLIENT_SRC_SEGMENT_MAPPER_H_
#define A8A_CLIENT_SRC_SEGMENT_MAPPER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "a8a/v1/common.pb.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/src/data_plane.h"
#include "client/src/fd_connection.h"
#include "client/src/mapping.h"
#include "client/src/session.h"

namespace a8a::client {

class SegmentMapper {
 public:
  SegmentMapper(const Session& session, absl::Time deadline)
      : runtime_dir_(session.runtime_dir()), session_id_(session.id()), deadline_(deadline) {}

  // Memory of the device of `data_plane`. `own_fd` gets a descriptor of it, for Holdings, unless it is null. Errors: as
  // FdConnection::Open and Redeem, and MapHostMemory.
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Mapping>> Map(const DataPlane& data_plane, const v1::Ticket& ticket,
                                                             absl::string_view what, UniqueFd* own_fd = nullptr);
  // A control segment, for the host and the device of `data_plane`.
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Mapping>> MapControl(const DataPlane& data_plane,
                                                                    const v1::Ticket& ticket, absl::string_view what,
                                                                    UniqueFd* own_fd);

 private:
  [[nodiscard]] absl::StatusOr<UniqueFd> Fetch(const v1::Ticket& ticket, absl::string_view what, UniqueFd* own_fd);

  const std::string runtime_dir_;
  const std::uint64_t session_id_;
  const absl::Time deadline_;
  std::optional<FdConnection> connection_;
};

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_SEGMENT_MAPPER_H_
