// Whether a process has begun to end.
#ifndef A8A_DAEMON_EXITING_PROCESS_H_
#define A8A_DAEMON_EXITING_PROCESS_H_

namespace a8a::daemon {

// True once no thread of the process can run its program any more, though the kernel may still be taking down what it
// held: on a GPU that takes some 60 ms, and only then does `pidfd` become readable. False for a process that runs, is
// stopped or has lost some of its threads; false, too, where /proc does not tell.
//
// Exact rather than early: a thread closes the descriptors of its process after it has been marked, so once another
// process sees them closed by the end of this one, the answer is true.
[[nodiscard]] bool IsExiting(int pidfd);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_EXITING_PROCESS_H_
