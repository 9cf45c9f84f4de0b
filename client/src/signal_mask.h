// Blocks signals for the calling thread while this lives, so that threads started meanwhile inherit the mask: the
// application's signals must reach the application's threads. Signals that a fault raises stay open, since blocking
// those would end the process without its handlers.
#ifndef A8A_CLIENT_SRC_SIGNAL_MASK_H_
#define A8A_CLIENT_SRC_SIGNAL_MASK_H_

#include <pthread.h>
#include <signal.h>

#include <initializer_list>

namespace a8a::client {

class BlockSignals {
 public:
  BlockSignals() {
    sigset_t blocked;
    sigfillset(&blocked);
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) sigdelset(&blocked, fault);
    pthread_sigmask(SIG_SETMASK, &blocked, &previous_);
  }
  ~BlockSignals() { pthread_sigmask(SIG_SETMASK, &previous_, nullptr); }
  BlockSignals(const BlockSignals&) = delete;
  BlockSignals& operator=(const BlockSignals&) = delete;

 private:
  sigset_t previous_;
};

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_SIGNAL_MASK_H_
