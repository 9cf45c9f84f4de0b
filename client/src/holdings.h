// What a session holds of the daemon's memory, with the descriptors by which a daemon that was restarted gets it back:
// its own leases and its groups' control segments, not what other ranks own.
//
// An owner that is being made or released says so by an Operation for that time, since neither the daemon nor the
// holdings know for sure then what it holds. Thread-safe.
#ifndef A8A_CLIENT_SRC_HOLDINGS_H_
#define A8A_CLIENT_SRC_HOLDINGS_H_

#include <cstdint>
#include <map>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/src/fd_connection.h"
#include "kernels/base/mutex.h"
#include "kernels/base/unique_fd.h"

namespace a8a::client {

class Holdings {
 public:
  class Operation {
   public:
    explicit Operation(Holdings* holdings);
    ~Operation();
    Operation(const Operation&) = delete;
    Operation& operator=(const Operation&) = delete;

   private:
    Holdings* const holdings_;
  };

  void AddBuffer(std::uint64_t buffer_id, std::uint64_t generation, UniqueFd fd);
  void AddGroup(std::uint64_t group_id, UniqueFd control_fd);
  void RemoveBuffer(std::uint64_t buffer_id);
  void RemoveGroup(std::uint64_t group_id);

  // Hands everything back, and says that it was all, once no operation is under way. What the daemon refuses has ended
  // there for its own reasons.
  //
  // Errors: those of the connection; DEADLINE_EXCEEDED, also if operations do not end.
  [[nodiscard]] absl::Status HandBack(std::uint64_t session_id, FdConnection* connection, absl::Time deadline);

 private:
  using Key = std::pair<FdRequestKind, std::uint64_t>;
  struct Entry {
    std::uint64_t generation = 0;
    std::shared_ptr<const UniqueFd> fd;
  };

  [[nodiscard]] absl::Status WaitForOperations(absl::Time deadline);

  Mutex mutex_;
  CondVar operations_ended_;
  int operation_count_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<Key, Entry> entries_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_HOLDINGS_H_
