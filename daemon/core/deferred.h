// Work to do once the core's lock is released: state is saved, then callbacks, events, log lines, the end of
// allocations.
//
//   Deferred after;               // declared first, so it is destroyed last
//   const MutexLock lock(&mu_);
//   after.Run([callback] { callback(...); });
//
// Runs in the order in which it was added, in the destructor: what was given to Keep, then Save, then the rest, so that
// nobody is told of what could still be lost. Belongs to one thread.
#ifndef A8A_DAEMON_CORE_DEFERRED_H_
#define A8A_DAEMON_CORE_DEFERRED_H_

#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace a8a::daemon {

class Deferred {
 public:
  Deferred() = default;
  ~Deferred() {
    for (const std::function<void()>& keep : keeps_) keep();
    if (save_) save_();
    for (const std::function<void()>& work : work_) work();
  }
  Deferred(const Deferred&) = delete;
  Deferred& operator=(const Deferred&) = delete;

  void Run(std::function<void()> work) { work_.push_back(std::move(work)); }
  void Keep(std::function<void()> keep) { keeps_.push_back(std::move(keep)); }
  // Replaces an earlier one.
  void Save(std::function<void()> save) { save_ = std::move(save); }

  // Keeps a reference until the lock is released, so that the last one is not dropped under it.
  void Drop(std::shared_ptr<void> object) { dropped_.push_back(std::move(object)); }

 private:
  std::vector<std::shared_ptr<void>> dropped_;
  std::vector<std::function<void()>> keeps_;
  std::function<void()> save_;
  std::vector<std::function<void()>> work_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_CORE_DEFERRED_H_
