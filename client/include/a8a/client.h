// A process's attachment to the node daemon: the session.
//
//   auto client = a8a::Client::Connect({});
//   auto group = (*client)->Join({.name = "tp", .rank = rank, .world_size = 8});
//   auto window = (*group)->RegisterWindow("tp2dp", bytes);
//
// A Client owns its session; it must outlive the groups and buffers made from it. Destruction says goodbye, which
// frees all that the session still holds, and leaves no thread or descriptor behind. If the process dies instead, the
// daemon frees it. All methods are thread-safe. Errors are absl::Status; those that any blocking call can return:
// UNAVAILABLE (the daemon is not running, is draining, or went away), DEADLINE_EXCEEDED (its timeout has passed) and
// NOT_FOUND (the session was ended by the daemon). Timeouts above a year are a year.
//
// A child that is forked while a Client lives must not use it: calls fail with FAILED_PRECONDITION there, and
// destructors free nothing of the parent's. After exec nothing of it is left.
#ifndef A8A_CLIENT_H_
#define A8A_CLIENT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "a8a/export.h"
#include "a8a/group.h"
#include "a8a/types.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace a8a {

// How to reach the daemon.
struct ConnectOptions {
  // Where the daemon's sockets are.
  std::string runtime_dir = "/run/a8a";
  // What to call the session in lists and logs; printable, at most 64 bytes.
  std::string client_name = {};
  // For Connect itself.
  absl::Duration timeout = absl::Seconds(10);
};

// Which group, and as which rank.
struct JoinOptions {
  // Printable, 1 to 64 bytes; groups are named within a uid.
  std::string name = {};
  // In [0, world_size).
  int rank = 0;
  // In [1, 64]; equal on all ranks.
  int world_size = 1;
  // Where this rank's windows lie. All ranks: the same kind. On a GPU, the device's primary context is held until the
  // group is destroyed: the application must not call cudaDeviceReset.
  Device device = Device::Host();
  // Equal on all ranks; in [1, 64].
  int channel_count = 8;
  // Equal on all ranks; at most 64 bytes.
  std::string secret = {};
  // For Join itself, which waits until all ranks have joined.
  absl::Duration timeout = absl::Seconds(60);
  // For each all-to-all and each Prepare.
  absl::Duration all_to_all_timeout = absl::Seconds(30);
};

// Memory leased from the daemon's pool and mapped into this process, for inputs that come from the same pool or for
// sharing. Zero when first seen. Destruction unmaps it and ends the lease.
class A8A_EXPORT Buffer {
 public:
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  // Valid until destruction.
  [[nodiscard]] std::byte* data() const;
  // At least what was asked for: rounded up to the device's granularity.
  [[nodiscard]] std::int64_t size_bytes() const;
  // The lease's number in lists and logs.
  [[nodiscard]] std::uint64_t id() const;
  // OK while the lease lives. ABORTED: the daemon has ended it; the memory can still be touched, but is no longer
  // accounted for, and the buffer should be destroyed.
  [[nodiscard]] absl::Status status() const;

 private:
  friend class Client;
  struct Impl;
  A8A_HIDDEN explicit Buffer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// What to lease.
struct BufferOptions {
  // At least 1; rounded up to the device's granularity.
  std::int64_t size_bytes = 0;
  // Whose memory.
  Device device = Device::Host();
  // In lists and logs; printable, at most 64 bytes.
  std::string name = {};
  // For RegisterBuffer itself.
  absl::Duration timeout = absl::Seconds(10);
};

// This process's session with the daemon; see the file.
class A8A_EXPORT Client {
 public:
  // Attaches this process to the daemon.
  //
  // Errors: INVALID_ARGUMENT (client_name), UNAVAILABLE (no daemon at runtime_dir; the message says which path),
  // PERMISSION_DENIED (the socket may not be opened), FAILED_PRECONDITION (the daemon speaks another protocol version),
  // RESOURCE_EXHAUSTED (its session limit), DEADLINE_EXCEEDED.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Client>> Connect(const ConnectOptions& options);

  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Joins a group and waits until all its ranks have joined; maps flags and control pages of all ranks.
  //
  // Errors: as of a8a.v1.GroupService.JoinGroup.
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Group>> Join(const JoinOptions& options);

  // Leases and maps a buffer of this process's own.
  //
  // Errors: as of a8a.v1.BufferService.RegisterBuffer.
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Buffer>> RegisterBuffer(const BufferOptions& options);

  // OK while the session lives. ABORTED: the daemon has ended it. UNAVAILABLE: the daemon cannot be reached; groups go
  // on, and the client tries to attach again in the background.
  [[nodiscard]] absl::Status status() const;
  // The session's number in lists and logs.
  [[nodiscard]] std::uint64_t session_id() const;
  // The devices of the daemon, in its order.
  [[nodiscard]] std::vector<Device> devices() const;
  // Whether the daemon drains: it takes no new groups, and asks for running ones to finish.
  [[nodiscard]] bool draining() const;

 private:
  struct Impl;
  A8A_HIDDEN explicit Client(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace a8a

#endif  // A8A_CLIENT_H_
