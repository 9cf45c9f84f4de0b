#include "daemon/refusal.h"

#include <chrono>
#include <utility>

namespace a8a::daemon {
namespace {

constexpr std::chrono::milliseconds kRefusalDelay{500};

}  // namespace

void Refuse(const ServiceDeps& deps, const grpc::CallbackServerContext& context, const absl::Status& status,
            std::function<void()> finish) {
  if (!absl::IsResourceExhausted(status)) return finish();
  const Turn turn = {.uid = deps.callers->UidOf(context),
                     .not_before = std::chrono::steady_clock::now() + kRefusalDelay};
  if (deps.refusals->Submit(turn, finish).ok()) return;
  deps.callers->Disconnect(context);
  finish();
}

}  // namespace a8a::daemon
