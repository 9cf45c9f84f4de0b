// How many of a thing each uid holds, counted by what holds it.
//
//   UidCounter::Hold hold = counter.Take(uid, 2);   // counted until `hold` is destroyed
//
// Thread-safe. A hold may outlive its counter: work that a thread drops late carries one along.
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
    counts_->Add(uid, count);
    return {counts_.get(), [counts = counts_, uid, count](Counts* /*counts*/) { counts->Add(uid, -count); }};
  }

  [[nodiscard]] int Count(std::uint32_t uid) const { return counts_->Of(uid); }

 private:
  class Counts {
   public:
    void Add(std::uint32_t uid, int count) {
      const MutexLock lock(&mutex_);
      if ((by_uid_[uid] += count) == 0) by_uid_.erase(uid);
    }

    [[nodiscard]] int Of(std::uint32_t uid) const {
      const MutexLock lock(&mutex_);
      const auto found = by_uid_.find(uid);
      return found == by_uid_.end() ? 0 : found->second;
    }

   private:
    mutable Mutex mutex_;
    std::map<std::uint32_t, int> by_uid_ ABSL_GUARDED_BY(mutex_);  // without zeros
  };

  const std::shared_ptr<Counts> counts_ = std::make_shared<Counts>();
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_UID_COUNTER_H_
