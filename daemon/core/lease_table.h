// Leases: which session holds which buffer of which device, accounted to the byte.
//
// A lease is made in two steps, because allocation can take long and must not hold the core's lock: Reserve counts the
// bytes against the pool limit, the caller allocates without the lock, and Commit or Unreserve ends the reservation.
// Reserved bytes count as leased. Not thread-safe: the core's lock guards it.
#ifndef A8A_DAEMON_CORE_LEASE_TABLE_H_
#define A8A_DAEMON_CORE_LEASE_TABLE_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "daemon/core/core.h"
#include "daemon/memory/memory_provider.h"

namespace a8a::daemon {

// Bytes and their peak.
struct Account {
  std::int64_t bytes = 0;
  std::int64_t bytes_peak = 0;
  std::int64_t lease_count = 0;

  void Add(std::int64_t size_bytes);
  void Remove(std::int64_t size_bytes);
};

struct PoolDevice {
  std::unique_ptr<MemoryProvider> provider;
  Account account;
};

struct Lease {
  BufferInfo buffer;
  std::shared_ptr<Allocation> allocation;
  std::uint32_t uid = 0;
  int rank = -1;  // of buffer.group_id
};

// Bytes that are counted but not yet allocated, and for whom.
struct Reservation {
  PoolDevice* device = nullptr;
  std::int64_t size_bytes = 0;  // rounded up to the device's granularity
  std::uint64_t session_id = 0;
  std::string name;
  std::uint64_t group_id = 0;
  int rank = -1;
  std::uint32_t uid = 0;
};

class LeaseTable {
 public:
  LeaseTable(int buffer_max, std::vector<std::unique_ptr<MemoryProvider>> providers);

  // NOT_FOUND names the devices there are.
  [[nodiscard]] absl::StatusOr<PoolDevice*> FindDevice(absl::string_view name);
  [[nodiscard]] const std::vector<PoolDevice>& devices() const { return devices_; }

  // Counts `wanted.size_bytes`, rounded up, on device and session. RESOURCE_EXHAUSTED: pool limit or table is full.
  [[nodiscard]] absl::StatusOr<Reservation> Reserve(Reservation wanted);
  void Unreserve(const Reservation& reservation);
  // Turns a reservation into a lease. The reference is valid until Erase.
  Lease& Commit(const Reservation& reservation, std::shared_ptr<Allocation> allocation);

  [[nodiscard]] Lease* Find(std::uint64_t buffer_id);
  [[nodiscard]] const std::map<std::uint64_t, Lease>& leases() const { return leases_; }
  // Ends a lease and gives its allocation to the caller, to be dropped without the lock.
  [[nodiscard]] std::shared_ptr<Allocation> Erase(std::uint64_t buffer_id);

  // Zero for a session without leases.
  [[nodiscard]] Account SessionAccount(std::uint64_t session_id) const;
  [[nodiscard]] Account RankAccount(std::uint64_t group_id, int rank) const;
  void ForgetSession(std::uint64_t session_id) { sessions_.erase(session_id); }
  void ForgetGroup(std::uint64_t group_id);

 private:
  using RankKey = std::pair<std::uint64_t, int>;

  void Remove(PoolDevice* device, std::int64_t size_bytes, std::uint64_t session_id, RankKey rank);

  const int buffer_max_;
  std::vector<PoolDevice> devices_;  // constant after construction, accounts apart
  int reserved_count_ = 0;
  std::uint64_t next_buffer_id_ = 1;
  std::uint64_t next_generation_ = 1;
  std::map<std::uint64_t, Lease> leases_;
  std::map<std::uint64_t, Account> sessions_;
  std::map<RankKey, Account> ranks_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CORE_LEASE_TABLE_H_
