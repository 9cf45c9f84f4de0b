// What the services are built from. All of it belongs to the Server and outlives them.
#ifndef A8A_DAEMON_SERVICE_DEPS_H_
#define A8A_DAEMON_SERVICE_DEPS_H_

#include "daemon/caller.h"
#include "daemon/core/core.h"
#include "daemon/executor.h"

namespace a8a::daemon {

struct ServiceDeps {
  Core* core = nullptr;
  const CallerResolver* callers = nullptr;
  // For calls that allocate, and may be refused when too many wait.
  Executor* calls = nullptr;
  // For whatever gives back: releases, leaves, deaths. Never held up by those that allocate.
  Executor* ends = nullptr;
  // For answers that are held back, see FinishRefused.
  Executor* refusals = nullptr;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_SERVICE_DEPS_H_
