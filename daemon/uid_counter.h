// How many of a thing each uid holds, counted by what holds it.
//
//   UidCounter::Hold hold = counter.Take(uid, 2);   // counted until `hold` is destroyed
//
// Thread-safe. Outlives its holds.
#ifndef A8A_DAEMON_UID_COUNTER_H_
#define A8A_DAEMON_UID_COUNTER_H_

#include <cstdint>
#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "kernels/base/mutex.h"

namespace a8a::daemon {

class UidCounter {
 public:
  // Gives back when the last copy is gone. Empty by default.
  using Hold = std::shared_ptr<void>;

  [[nodiscard]] Hold Take(std::uint32_t uid, int count) {
    Add(uid, count);
    return {this, [uid, count](UidCounter* counter) { counter->Add(uid, -count); }};
  }

  [[nodiscard]] int Count(std::uint32_t uid) const {
    const MutexLock lock(&mutex_);
    const auto found = counts_.find(uid);
    return found == counts_.end() ? 0 : found->second;
  }

 private:
  void Add(std::uint32_t uid, int count) {
    const MutexLock lock(&mutex_);
    if ((counts_[uid] += count) == 0) counts_.erase(uid);
  }

  mutable Mutex mutex_;
  std::map<std::uint32_t, int> counts_ ABSL_GUARDED_BY(mutex_);  // without zeros
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_UID_COUNTER_H_
