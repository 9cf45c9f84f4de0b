// A barrier for processes, to be placed in memory that they share.
//
// It sleeps while it waits, so that waiting ranks leave the cores to those that still work. It has no deadline: whoever
// started the processes watches them and kills them all when one of them cannot come any more.
#ifndef A8A_CLIENT_TOOLS_PROCESS_BARRIER_H_
#define A8A_CLIENT_TOOLS_PROCESS_BARRIER_H_

#include <pthread.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace a8a::tools {

class ProcessBarrier {
 public:
  // Called once, before the processes start.
  [[nodiscard]] absl::Status Init(int process_count) {
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    const int error = pthread_barrier_init(&barrier_, &attributes, static_cast<unsigned>(process_count));
    pthread_barrierattr_destroy(&attributes);
    if (error == 0) return absl::OkStatus();
    return absl::ErrnoToStatus(error, absl::StrCat("cannot make a barrier for ", process_count, " processes"));
  }
  // Returns when all processes have called it. Can be used again at once.
  void Wait() { pthread_barrier_wait(&barrier_); }

 private:
  pthread_barrier_t barrier_;
};

}  // namespace a8a::tools

#endif  // A8A_CLIENT_TOOLS_PROCESS_BARRIER_H_
