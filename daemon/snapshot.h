// The core's state as bytes. Pure functions; the file is daemon/state_file.h's.
//
// Layout: SnapshotHeader, then a Snapshot message (daemon/snapshot.proto) of payload_bytes. Integers in host byte
// order: a snapshot never leaves the machine. A snapshot that is cut, altered, of another format or of another boot of
// the machine is refused as a whole.
#ifndef A8A_DAEMON_SNAPSHOT_H_
#define A8A_DAEMON_SNAPSHOT_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/core/core_state.h"

namespace a8a::daemon {

struct SnapshotHeader {
  char magic[8];
  std::uint32_t version;
  std::uint32_t payload_crc32;
  std::uint64_t payload_bytes;
};
static_assert(sizeof(SnapshotHeader) == 24);

// `boot_id` names this boot of the machine: /proc/sys/kernel/random/boot_id.
[[nodiscard]] std::string SerializeSnapshot(const CoreState& state, absl::string_view boot_id);

// `bytes` may be anything. The state is what was written, but Core::Restore still checks that it makes sense.
//
// Errors: INVALID_ARGUMENT (it is no snapshot, or not a whole one), FAILED_PRECONDITION (of another format or boot).
[[nodiscard]] absl::StatusOr<CoreState> ParseSnapshot(absl::string_view bytes, absl::string_view boot_id);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_SNAPSHOT_H_
