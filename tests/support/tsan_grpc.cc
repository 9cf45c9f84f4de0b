// Shows ThreadSanitizer how gRPC and Abseil hand over from thread to thread.
//
// The distribution builds both without ThreadSanitizer, which then sees none of their ordering and reports every
// message and every reactor that passes between two of our threads as a race. Programs of the tsan preset define the
// functions below themselves, in front of the libraries', and say to the sanitizer what each of them orders, then call
// the real one: absl::Mutex as the lock that it is; gRPC's call operations as one hand-over, from whoever starts a
// batch or ends one to whoever is told of its end. That is coarser than the truth, so a race between two threads that
// both call gRPC in between can stay unseen; there are no false reports, and all that runs beside gRPC is seen in full.
//
// Source of the annotations: sanitizer/tsan_interface.h of the compiler. Not in any other build.
#include <dlfcn.h>
#include <grpc/grpc.h>
#include <grpcpp/support/server_callback.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "absl/base/options.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

extern "C" void __tsan_acquire(void* address);
extern "C" void __tsan_release(void* address);

// As declared in gRPC 1.51, src/core/lib/surface/completion_queue.h, which is not installed. Exported by its library.
struct grpc_cq_completion;
void grpc_cq_end_op(grpc_completion_queue* cq, void* tag, absl::Status error,
                    void (*done)(void* done_arg, grpc_cq_completion* storage), void* done_arg,
                    grpc_cq_completion* storage, bool internal);

namespace {

char hand_over;  // its address stands for all of gRPC's queues

// The library's own function behind the one that is defined here.
template <typename Function>
Function* Next(const char* symbol) {
  void* const found = ::dlsym(RTLD_NEXT, symbol);
  if (found == nullptr) {
    std::fprintf(stderr, "tsan_grpc: no %s in any library: another version of gRPC or Abseil?\n", symbol);
    std::abort();
  }
  return reinterpret_cast<Function*>(found);
}

#define A8A_STRINGIFY_VALUE(x) #x
#define A8A_STRINGIFY(x) A8A_STRINGIFY_VALUE(x)

// The mangled name of a member of absl's inline namespace.
std::string AbslSymbol(const char* rest) {
#if ABSL_OPTION_USE_INLINE_NAMESPACE
  const std::string space = A8A_STRINGIFY(ABSL_OPTION_INLINE_NAMESPACE_NAME);
  return "_ZN4absl" + std::to_string(space.size()) + space + rest;
#else
  return std::string("_ZN4absl") + rest;
#endif
}

template <typename Function>
Function* NextAbsl(const char* rest) {
  return Next<Function>(AbslSymbol(rest).c_str());
}

using MutexCall = void(absl::Mutex*);

}  // namespace

namespace absl {
ABSL_NAMESPACE_BEGIN

void Mutex::Lock() {
  static MutexCall* const next = NextAbsl<MutexCall>("5Mutex4LockEv");
  next(this);
  __tsan_acquire(this);
}

bool Mutex::TryLock() {
  static auto* const next = NextAbsl<bool(Mutex*)>("5Mutex7TryLockEv");
  const bool locked = next(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::Unlock() {
  static MutexCall* const next = NextAbsl<MutexCall>("5Mutex6UnlockEv");
  __tsan_release(this);
  next(this);
}

void CondVar::Wait(Mutex* mutex) {
  static auto* const next = NextAbsl<void(CondVar*, Mutex*)>("7CondVar4WaitEPNS0_5MutexE");
  __tsan_release(mutex);
  next(this, mutex);
  __tsan_acquire(mutex);
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  static auto* const next =
      NextAbsl<bool(CondVar*, Mutex*, Duration)>("7CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  __tsan_release(mutex);
  const bool timed_out = next(this, mutex, timeout);
  __tsan_acquire(mutex);
  return timed_out;
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static auto* const next = NextAbsl<bool(CondVar*, Mutex*, Time)>("7CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  __tsan_release(mutex);
  const bool timed_out = next(this, mutex, deadline);
  __tsan_acquire(mutex);
  return timed_out;
}

ABSL_NAMESPACE_END
}  // namespace absl

namespace grpc::internal {

// Whoever takes the last reference to a call, or meets the last condition of its cancellation, comes after all who took
// one before; some of that counting is inside the library.
void ServerCallbackCall::ScheduleOnDone(bool inline_ondone) {
  static auto* const next =
      Next<void(ServerCallbackCall*, bool)>("_ZN4grpc8internal18ServerCallbackCall14ScheduleOnDoneEb");
  __tsan_acquire(&callbacks_outstanding_);
  next(this, inline_ondone);
}

void ServerCallbackCall::CallOnCancel(ServerReactor* reactor) {
  static auto* const next = Next<void(ServerCallbackCall*, ServerReactor*)>(
      "_ZN4grpc8internal18ServerCallbackCall12CallOnCancelEPNS0_13ServerReactorE");
  __tsan_acquire(&on_cancel_conditions_remaining_);
  next(this, reactor);
}

}  // namespace grpc::internal

extern "C" grpc_call_error grpc_call_start_batch(grpc_call* call, const grpc_op* ops, std::size_t op_count, void* tag,
                                                 void* reserved) {
  static auto* const next = Next<decltype(grpc_call_start_batch)>("grpc_call_start_batch");
  __tsan_release(&hand_over);
  return next(call, ops, op_count, tag, reserved);
}

extern "C" grpc_event grpc_completion_queue_next(grpc_completion_queue* cq, gpr_timespec deadline, void* reserved) {
  static auto* const next = Next<decltype(grpc_completion_queue_next)>("grpc_completion_queue_next");
  const grpc_event event = next(cq, deadline, reserved);
  __tsan_acquire(&hand_over);
  return event;
}

extern "C" grpc_event grpc_completion_queue_pluck(grpc_completion_queue* cq, void* tag, gpr_timespec deadline,
                                                  void* reserved) {
  static auto* const next = Next<decltype(grpc_completion_queue_pluck)>("grpc_completion_queue_pluck");
  const grpc_event event = next(cq, tag, deadline, reserved);
  __tsan_acquire(&hand_over);
  return event;
}

extern "C" void grpc_call_unref(grpc_call* call) {
  static auto* const next = Next<decltype(grpc_call_unref)>("grpc_call_unref");
  __tsan_release(&hand_over);
  next(call);
}

// A callback that runs at the end of a batch runs after this on the same thread, or behind an absl::Mutex.
void grpc_cq_end_op(grpc_completion_queue* cq, void* tag, absl::Status error,
                    void (*done)(void* done_arg, grpc_cq_completion* storage), void* done_arg,
                    grpc_cq_completion* storage, bool internal) {
  using EndOp = void(grpc_completion_queue*, void*, absl::Status, void (*)(void*, grpc_cq_completion*), void*,
                     grpc_cq_completion*, bool);
  static auto* const next = Next<EndOp>(("_Z14grpc_cq_end_opP21grpc_completion_queuePv" +
                                         AbslSymbol("6StatusE").substr(2) + "PFvS1_P18grpc_cq_completionES1_S6_b")
                                            .c_str());
  __tsan_acquire(&hand_over);
  __tsan_release(&hand_over);
  next(cq, tag, std::move(error), done, done_arg, storage, internal);
}
