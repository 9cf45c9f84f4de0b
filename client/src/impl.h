// What stands behind the public classes. Hidden, or the members of an exported class would be exported with it.
#ifndef A8A_CLIENT_SRC_IMPL_H_
#define A8A_CLIENT_SRC_IMPL_H_

#include <memory>

#include "a8a/client.h"
#include "a8a/group.h"
#include "client/src/buffer_state.h"
#include "client/src/data_plane.h"
#include "client/src/group_state.h"
#include "client/src/session.h"

#define A8A_HIDDEN __attribute__((visibility("hidden")))

namespace a8a {

struct A8A_HIDDEN Client::Impl {
  std::shared_ptr<client::Session> session;
};

struct A8A_HIDDEN Buffer::Impl {
  std::unique_ptr<client::BufferState> state;
};

struct A8A_HIDDEN Group::Impl {
  // The window of an output of this group, kept for the time of a launch.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<client::WindowState>> WindowOf(const Output& output) const;

  std::shared_ptr<client::GroupState> state;
};

struct A8A_HIDDEN Window::Impl {
  std::shared_ptr<client::WindowState> state;
};

struct A8A_HIDDEN Plan::Impl {
  // Weak: a plan must not keep a window that its owner has destroyed.
  std::weak_ptr<client::WindowState> window;
  std::unique_ptr<client::PreparedPlan> prepared;
};

}  // namespace a8a

#endif  // A8A_CLIENT_SRC_IMPL_H_
