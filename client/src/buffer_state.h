// A buffer of the session's own: its lease and its mapping.
#ifndef A8A_CLIENT_SRC_BUFFER_STATE_H_
#define A8A_CLIENT_SRC_BUFFER_STATE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "a8a/client.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/src/mapping.h"
#include "client/src/session.h"

namespace a8a::client {

class BufferState {
 public:
  // Errors: as Client::RegisterBuffer.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<BufferState>> Register(std::shared_ptr<Session> session,
                                                                             const BufferOptions& options);
  // Ends the lease, except in a forked child.
  ~BufferState();
  BufferState(const BufferState&) = delete;
  BufferState& operator=(const BufferState&) = delete;

  [[nodiscard]] std::byte* data() const { return mapping_->data(); }
  [[nodiscard]] std::int64_t size_bytes() const { return mapping_->size_bytes(); }
  [[nodiscard]] std::uint64_t id() const { return id_; }
  // As Buffer::status.
  [[nodiscard]] absl::Status status() const;

 private:
  BufferState(std::shared_ptr<Session> session, std::uint64_t id, std::uint64_t generation)
      : session_(std::move(session)), id_(id), generation_(generation) {}

  const std::shared_ptr<Session> session_;
  const std::uint64_t id_;
  const std::uint64_t generation_;
  std::unique_ptr<Mapping> mapping_;
};

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_BUFFER_STATE_H_
