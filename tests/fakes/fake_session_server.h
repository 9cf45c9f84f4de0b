// A daemon's SessionService, in this process, that does what a test tells it: welcomes, refuses or ignores, sends
// events, breaks streams, goes away and comes back. Everything that a real daemon does only in bad moments. Joins are
// CANCELLED, as by a server that stops just when they come.
//
// Thread-safe. Goes away with its object.
#ifndef A8A_TESTS_FAKES_FAKE_SESSION_SERVER_H_
#define A8A_TESTS_FAKES_FAKE_SESSION_SERVER_H_

#include <grpcpp/server.h>
#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "a8a/v1/session_service.grpc.pb.h"
#include "absl/time/time.h"
#include "kernels/base/mutex.h"

namespace a8a::testing {

class FakeSessionServer {
 public:
  static constexpr std::uint64_t kSessionId = 41;

  // Serves runtime_dir/a8a.sock from Start on.
  explicit FakeSessionServer(const std::string& runtime_dir);
  ~FakeSessionServer();
  FakeSessionServer(const FakeSessionServer&) = delete;
  FakeSessionServer& operator=(const FakeSessionServer&) = delete;

  void Start();
  // Breaks every stream and removes the socket.
  void Stop();

  // How the next streams answer hello: OK welcomes, any other status ends the stream. The default welcomes.
  void AnswerHelloWith(const grpc::Status& status);
  // The next streams say nothing to hello.
  void IgnoreHello();
  // Goodbye does not end streams any more.
  void IgnoreGoodbye();
  // Sends an event on the open stream. Its sequence is set here.
  void Send(v1::AttachResponse event);
  // Ends the open stream.
  void EndStream(const grpc::Status& status);

  // What clients have sent so far.
  [[nodiscard]] std::vector<v1::Hello> hellos() const;
  [[nodiscard]] std::uint64_t acknowledged() const;
  [[nodiscard]] int goodbye_count() const;

 private:
  class Stream;
  class Service;
  class Groups;
  enum class OnHello { kAnswer, kIgnore };

  const std::string address_;
  std::unique_ptr<Service> service_;
  std::unique_ptr<Groups> groups_;
  std::unique_ptr<grpc::Server> server_;

  mutable Mutex mutex_;
  OnHello on_hello_ ABSL_GUARDED_BY(mutex_) = OnHello::kAnswer;
  bool ignore_goodbye_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::Status hello_status_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::Hello> hellos_ ABSL_GUARDED_BY(mutex_);
  std::uint64_t acknowledged_ ABSL_GUARDED_BY(mutex_) = 0;
  std::uint64_t sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  int goodbye_count_ ABSL_GUARDED_BY(mutex_) = 0;
  Stream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace a8a::testing

#endif  // A8A_TESTS_FAKES_FAKE_SESSION_SERVER_H_
