// A rank of a group, its windows and its all-to-alls.
//
// Ownership: Client outlives Group, Group outlives its Windows and Plans. Thread safety: every method may be called
// from any thread; all-to-alls on one channel must not overlap in time (one channel per thread), those on different
// channels may.
//
// What a caller must keep for all-to-alls on one channel: all ranks start the same ones in the same order, and an
// output has been read before the channel's next all-to-all is started.
#ifndef A8A_GROUP_H_
#define A8A_GROUP_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "a8a/export.h"
#include "a8a/types.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace a8a {

// One buffer per rank, registered collectively and mapped by all ranks; outputs of all-to-alls lie in windows.
// Destruction gives up this rank's part and unmaps all parts: no all-to-all into it may be running here or be started
// by a peer. Memory goes back to the daemon's pool when all ranks have done so.
class A8A_EXPORT Window {
 public:
  ~Window();
  Window(const Window&) = delete;
  Window& operator=(const Window&) = delete;

  // This rank's part; valid until destruction.
  [[nodiscard]] std::byte* data() const;
  // Of this rank's part: at least what was asked for.
  [[nodiscard]] std::int64_t size_bytes() const;
  // In [0, 64), the same on every rank.
  [[nodiscard]] int index() const;
  // As it was registered.
  [[nodiscard]] const std::string& name() const;

 private:
  friend class Group;
  struct Impl;
  A8A_HIDDEN explicit Window(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Rows to send: a view that starts at `data`, in any memory of this process or in a window.
struct Input {
  // Unchanged until the all-to-all has ended.
  const void* data = nullptr;
  // What lies there.
  View view = {};
};

// Where rows arrive: a view that starts `offset_bytes` into this rank's part of a window.
struct Output {
  // Of the same group.
  const Window* window = nullptr;
  // From Window::data(); the view lies within the window.
  std::int64_t offset_bytes = 0;
  // Where rows arrive.
  View view = {};
};

// Splits exchanged and checked once, for many all-to-alls. Made by Group::Prepare; belongs to one channel and window.
// On a GPU it outlives the launches and graphs that use it: its device memory is given to the next plan when it is
// destroyed.
class A8A_EXPORT Plan {
 public:
  // An empty one, which AllToAll refuses.
  Plan();
  ~Plan();
  // What was moved from is empty.
  Plan(Plan&&) noexcept;
  // As the constructor; what it was before is destroyed.
  Plan& operator=(Plan&&) noexcept;

 private:
  friend class Group;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// This process's rank in a group; see the file.
class A8A_EXPORT Group {
 public:
  // Leaves the group.
  ~Group();
  Group(const Group&) = delete;
  Group& operator=(const Group&) = delete;

  // Collective: waits until every rank has registered a window of this name, then maps all parts. Sizes may differ.
  //
  // Errors: as of a8a.v1.GroupService.RegisterWindow.
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Window>> RegisterWindow(const std::string& name, std::int64_t size_bytes,
                                                                       absl::Duration timeout = absl::Seconds(60));

  // As RegisterWindow, with this rank's part on device memory that the caller has allocated by cudaMalloc: bytes
  // [data, data + size_bytes). Other ranks may give memory of their own or take the pool's, by RegisterWindow. For
  // memory that an engine has anyway; the pool's is the better choice everywhere else:
  // - Peers' mappings do not keep it. It must stay allocated, and this process alive, until every rank has released the
  //   window or left the group. A peer that stores into memory that has gone may lose its CUDA context.
  // - The daemon must allow it: see its option legacy_ipc. Whoever learns the handle can open the memory.
  // - The ranks are separate processes.
  //
  // Errors: as RegisterWindow, and INVALID_ARGUMENT (not memory of cudaMalloc on the rank's device, or beyond its
  // allocation), FAILED_PRECONDITION (allocated in a way that cannot be shared: cudaMallocAsync, cuMemCreate; or a
  // peer's handle cannot be opened), PERMISSION_DENIED (the daemon does not allow it), UNIMPLEMENTED (on the host).
  [[nodiscard]] absl::StatusOr<std::unique_ptr<Window>> RegisterWindowOn(const std::string& name, void* data,
                                                                         std::int64_t size_bytes,
                                                                         absl::Duration timeout = absl::Seconds(60));

  // One all-to-all whose splits are used once. On the host it has ended when this returns, and the status is that of
  // the all-to-all; on a GPU it is enqueued on `stream` and can be captured in a graph, the status is that of the
  // launch, and CheckStatus tells what became of it.
  //
  // Errors, found before anything is sent, after which the peers miss this rank: INVALID_ARGUMENT (channel, view or
  // pointer; output outside its window; input overlapping the output; views with different row_bytes).
  // Errors of the all-to-all, on every rank of the pair concerned, after which the next one works: INVALID_ARGUMENT
  // (negative split or offset, overflow, rows beyond the input view, sources that overlap in the output),
  // OUT_OF_RANGE (rows beyond the output view or window), FAILED_PRECONDITION (ranks disagree on rows, row_bytes,
  // window or operation), DEADLINE_EXCEEDED (a rank did not come in time), ABORTED (the group has ended). Messages name
  // ranks, expected and actual values.
  [[nodiscard]] absl::Status AllToAll(const Input& input, const Output& output, const Splits& splits, Channel channel,
                                      Stream stream = nullptr);

  // Exchanges and checks the splits for the all-to-alls that follow with `plan`, and moves nothing; input.data is not
  // read. Errors as of AllToAll, and FAILED_PRECONDITION while a stream is captured and no device memory for a plan is
  // left (each group has some for 32 from the start).
  [[nodiscard]] absl::Status Prepare(Plan* plan, const Input& input, const Output& output, const Splits& splits,
                                     Channel channel, Stream stream = nullptr);

  // One all-to-all by a plan, with the rows at `input` in the plan's input view. Errors as of AllToAll, and
  // FAILED_PRECONDITION for a plan that was never prepared or whose window was destroyed.
  [[nodiscard]] absl::Status AllToAll(const Plan& plan, const void* input, Stream stream = nullptr);

  // The first error of the channel's all-to-alls since the last call; takes it off the channel. Stays ABORTED when the
  // group has ended. Never blocks.
  [[nodiscard]] absl::Status CheckStatus(Channel channel);

  // Ends the group for all ranks: their pending and later all-to-alls end with ABORTED naming this rank.
  [[nodiscard]] absl::Status Abort(const std::string& message, absl::Duration timeout = absl::Seconds(10));

  // In [0, world_size()).
  [[nodiscard]] int rank() const;
  // In [1, 64].
  [[nodiscard]] int world_size() const;
  // In [1, 64].
  [[nodiscard]] int channel_count() const;
  // The group's number in lists and logs, the same on all ranks.
  [[nodiscard]] std::uint64_t id() const;
  // Bytes that a8a itself takes on this rank, windows apart: its flags and its share of the control segment.
  [[nodiscard]] std::int64_t overhead_bytes() const;

 private:
  friend class Client;
  struct Impl;
  A8A_HIDDEN explicit Group(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace a8a

#endif  // A8A_GROUP_H_
