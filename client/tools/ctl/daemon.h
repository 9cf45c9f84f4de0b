// A daemon, as a8actl talks to it: each call blocks until it is answered or the timeout has passed. Not thread-safe.
#ifndef A8A_CLIENT_TOOLS_CTL_DAEMON_H_
#define A8A_CLIENT_TOOLS_CTL_DAEMON_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "a8a/v1/admin_service.pb.h"
#include "a8a/v1/common.pb.h"
#include "a8a/v1/stat_service.pb.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace a8a::ctl {

class Daemon {
 public:
  virtual ~Daemon() = default;

  // Errors: UNAVAILABLE (nobody listens), PERMISSION_DENIED (the socket's mode), DEADLINE_EXCEEDED; all name the
  // socket.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Daemon>> Connect(const std::string& runtime_dir,
                                                                       absl::Duration timeout);

  // Errors of all: those of the RPC.
  // Group 0: all.
  [[nodiscard]] virtual absl::StatusOr<v1::Stats> GetStats(std::uint64_t group_id) = 0;
  [[nodiscard]] virtual absl::StatusOr<std::vector<v1::Buffer>> ListBuffers() = 0;
  // "SERVING", "NOT_SERVING" or "UNKNOWN". NOT_FOUND for a name that the daemon does not know.
  [[nodiscard]] virtual absl::StatusOr<std::string> CheckHealth(const std::string& name) = 0;
  // Zero: without limit.
  [[nodiscard]] virtual absl::StatusOr<v1::DrainResponse> Drain(absl::Duration timeout) = 0;
  [[nodiscard]] virtual absl::Status Undrain() = 0;
  [[nodiscard]] virtual absl::Status Revoke(const v1::RevokeRequest& request) = 0;
  [[nodiscard]] virtual absl::StatusOr<v1::ReloadConfigResponse> ReloadConfig() = 0;
};

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_DAEMON_H_
