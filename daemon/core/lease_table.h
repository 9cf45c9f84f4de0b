// Leases: which session holds which buffer of which device, accounted to the byte.
//
// A lease is made in two steps, because allocation can take long and must not hold the core's lock: Reserve counts the
// bytes against the pool limit, the caller allocates without the lock, and Commit or Unreserve ends the reservation.
// Reserved bytes count as leased. Not thread-safe: the core's lock guards it.
#ifndef A8A_DAEMON_CORE_LEASE_TABLE_H_
#define A8A_DAEMON_CORE_LEASE_TABLE_H_

#include <algorithm>
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

struct LeaseState;

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
  std::map<std::uint32_t, Account> uids;  // without those that hold nothing
};

struct Lease {
  BufferInfo buffer;
  std::shared_ptr<Allocation> allocation;
  std::uint32_t uid = 0;
  int rank = -1;  // of buffer.group_id
  FileId file;    // of the allocation
  // Of a lease of an earlier daemon: its client has not said yet that it holds it. The allocation is null until
  // somebody hands its descriptor back.
  bool claimed = true;
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
  // Generations are above `generation_floor`, which grows from one run of the daemon to the next.
  LeaseTable(int buffer_max, std::vector<std::unique_ptr<MemoryProvider>> providers, std::int64_t generation_floor);

  // NOT_FOUND names the devices there are.
  [[nodiscard]] absl::StatusOr<PoolDevice*> FindDevice(absl::string_view name);
  [[nodiscard]] const std::vector<PoolDevice>& devices() const { return devices_; }
  // The same by what it was recorded as; null if it is not there.
  [[nodiscard]] PoolDevice* FindRecorded(absl::string_view name, absl::string_view uuid);

  // The size that the device spends on `size_bytes`.
  [[nodiscard]] static std::int64_t RoundUp(const PoolDevice& device, std::int64_t size_bytes);
  // Counts `wanted.size_bytes`, rounded up, on device, session and uid. RESOURCE_EXHAUSTED: pool limit or table is
  // full.
  [[nodiscard]] absl::StatusOr<Reservation> Reserve(Reservation wanted);
  // Whether the table has as many leases and reservations as it may.
  [[nodiscard]] bool full() const;
  void Unreserve(const Reservation& reservation);
  // Turns a reservation into a lease. The reference is valid until Erase.
  Lease& Commit(const Reservation& reservation, std::shared_ptr<Allocation> allocation);

  // Takes up a lease of an earlier daemon, on a device that FindRecorded finds; pool and table limits are not asked.
  void Restore(const LeaseState& state, std::shared_ptr<Allocation> allocation);
  void RestoreIds(std::uint64_t next_buffer_id, std::uint64_t next_generation);
  void RestoreDevicePeak(PoolDevice* device, std::int64_t peak) { Raise(&device->account.bytes_peak, peak); }
  void RestoreSessionPeak(std::uint64_t session_id, std::int64_t peak) {
    if (peak > 0) Raise(&sessions_[session_id].bytes_peak, peak);
  }
  void RestoreRankPeak(std::uint64_t group_id, int rank, std::int64_t peak) {
    if (peak > 0) Raise(&ranks_[{group_id, rank}].bytes_peak, peak);
  }
  // Ends all leases, reservations apart, and gives the allocations to the caller.
  [[nodiscard]] std::vector<std::shared_ptr<Allocation>> Clear();
  [[nodiscard]] std::uint64_t next_buffer_id() const { return next_buffer_id_; }
  [[nodiscard]] std::uint64_t next_generation() const { return next_generation_; }

  [[nodiscard]] Lease* Find(std::uint64_t buffer_id);
  [[nodiscard]] const std::map<std::uint64_t, Lease>& leases() const { return leases_; }
  // Ends a lease and gives its allocation to the caller, to be dropped without the lock.
  [[nodiscard]] std::shared_ptr<Allocation> Erase(std::uint64_t buffer_id);

  // Zero for a session without leases.
  [[nodiscard]] Account SessionAccount(std::uint64_t session_id) const;
  [[nodiscard]] Account RankAccount(std::uint64_t group_id, int rank) const;
  [[nodiscard]] Account UidAccount(const PoolDevice& device, std::uint32_t uid) const;
  // Leases and reservations of a uid on all devices.
  [[nodiscard]] std::int64_t UidLeaseCount(std::uint32_t uid) const;
  void ForgetSession(std::uint64_t session_id) { sessions_.erase(session_id); }
  void ForgetGroup(std::uint64_t group_id);

 private:
  using RankKey = std::pair<std::uint64_t, int>;

  static void Raise(std::int64_t* peak, std::int64_t to) { *peak = std::max(*peak, to); }

  void Remove(PoolDevice* device, std::int64_t size_bytes, std::uint64_t session_id, RankKey rank, std::uint32_t uid);

  const int buffer_max_;
  std::vector<PoolDevice> devices_;  // constant after construction, accounts apart
  int reserved_count_ = 0;
  std::uint64_t next_buffer_id_ = 1;
  std::uint64_t next_generation_;
  std::map<std::uint64_t, Lease> leases_;
  std::map<std::uint64_t, Account> sessions_;
  std::map<RankKey, Account> ranks_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CORE_LEASE_TABLE_H_
