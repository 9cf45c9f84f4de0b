#include "tests/fakes/fake_session_server.h"

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <chrono>
#include <deque>
#include <utility>

#include "a8a/v1/group_service.grpc.pb.h"
#include "absl/strings/str_cat.h"
#include "kernels/base/check.h"
#include "proto/fd_protocol.h"

namespace a8a::testing {

// One Attach stream. Belongs to gRPC; the server knows it from its hello to OnDone. All fields are guarded by the
// server's mutex.
class FakeSessionServer::Stream final : public grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachResponse> {
 public:
  explicit Stream(FakeSessionServer* server) : server_(server) { StartRead(&incoming_); }

  void OnReadDone(bool ok) override {
    const MutexLock lock(&server_->mutex_);
    if (!ok) return End(grpc::Status::OK);
    Handle(incoming_);
    if (!finished_) StartRead(&incoming_);
  }

  void OnWriteDone(bool /*ok*/) override {
    const MutexLock lock(&server_->mutex_);
    queue_.pop_front();
    WriteNext();
  }

  void OnDone() override {
    {
      const MutexLock lock(&server_->mutex_);
      if (server_->stream_ == this) server_->stream_ = nullptr;
    }
    delete this;
  }

  void Queue(v1::AttachResponse response) {
    response.set_sequence(++server_->sequence_);
    queue_.push_back(std::move(response));
    if (queue_.size() == 1) WriteNext();
  }

  void End(const grpc::Status& status) {
    if (finished_) return;
    finished_ = true;
    Finish(status);
  }

 private:
  void Handle(const v1::AttachRequest& request) {
    if (request.has_hello()) {
      Welcome(request.hello());
    } else if (request.has_acknowledge()) {
      server_->acknowledged_ = request.acknowledge().sequence();
    } else if (request.has_goodbye()) {
      ++server_->goodbye_count_;
      if (!server_->ignore_goodbye_) End(grpc::Status::OK);
    }
  }

  void Welcome(const v1::Hello& hello) {
    server_->hellos_.push_back(hello);
    server_->stream_ = this;
    if (server_->on_hello_ == OnHello::kIgnore) return;
    if (!server_->hello_status_.ok()) return End(server_->hello_status_);
    v1::AttachResponse response;
    response.mutable_welcome()->set_session_id(kSessionId);
    v1::Device* const host = response.mutable_welcome()->add_devices();
    host->set_name("host");
    host->set_kind(v1::DEVICE_KIND_HOST);
    v1::Device* const cuda = response.mutable_welcome()->add_devices();
    cuda->set_name("cuda:0");
    cuda->set_kind(v1::DEVICE_KIND_CUDA);
    Queue(std::move(response));
  }

  void WriteNext() {
    if (!finished_ && !queue_.empty()) StartWrite(&queue_.front());
  }

  FakeSessionServer* const server_;
  v1::AttachRequest incoming_;
  std::deque<v1::AttachResponse> queue_;
  bool finished_ = false;
};

class FakeSessionServer::Service final : public v1::SessionService::CallbackService {
 public:
  explicit Service(FakeSessionServer* server) : server_(server) {}

 private:
  grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachResponse>* Attach(grpc::CallbackServerContext*) override {
    return new Stream(server_);
  }

  FakeSessionServer* const server_;
};

class FakeSessionServer::Groups final : public v1::GroupService::CallbackService {
  grpc::ServerUnaryReactor* JoinGroup(grpc::CallbackServerContext* context, const v1::JoinGroupRequest*,
                                      v1::JoinGroupResponse*) override {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    reactor->Finish({grpc::StatusCode::CANCELLED, "CANCELLED"});
    return reactor;
  }
};

FakeSessionServer::FakeSessionServer(const std::string& runtime_dir)
    : address_(absl::StrCat("unix:", runtime_dir, "/", kGrpcSocketName)),
      service_(std::make_unique<Service>(this)),
      groups_(std::make_unique<Groups>()) {}

FakeSessionServer::~FakeSessionServer() { Stop(); }

void FakeSessionServer::Start() {
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
  builder.RegisterService(service_.get());
  builder.RegisterService(groups_.get());
  server_ = builder.BuildAndStart();
  A8A_CHECK(server_ != nullptr, absl::StrCat("cannot listen at ", address_));
}

void FakeSessionServer::Stop() {
  if (server_ == nullptr) return;
  server_->Shutdown(std::chrono::system_clock::now());  // cancels what runs
  server_->Wait();
  server_.reset();
}

void FakeSessionServer::AnswerHelloWith(const grpc::Status& status) {
  const MutexLock lock(&mutex_);
  on_hello_ = OnHello::kAnswer;
  hello_status_ = status;
}

void FakeSessionServer::IgnoreHello() {
  const MutexLock lock(&mutex_);
  on_hello_ = OnHello::kIgnore;
}

void FakeSessionServer::IgnoreGoodbye() {
  const MutexLock lock(&mutex_);
  ignore_goodbye_ = true;
}

void FakeSessionServer::Send(v1::AttachResponse event) {
  const MutexLock lock(&mutex_);
  A8A_CHECK(stream_ != nullptr, "no stream is open");
  stream_->Queue(std::move(event));
}

void FakeSessionServer::EndStream(const grpc::Status& status) {
  const MutexLock lock(&mutex_);
  A8A_CHECK(stream_ != nullptr, "no stream is open");
  stream_->End(status);
}

std::vector<v1::Hello> FakeSessionServer::hellos() const {
  const MutexLock lock(&mutex_);
  return hellos_;
}

std::uint64_t FakeSessionServer::acknowledged() const {
  const MutexLock lock(&mutex_);
  return acknowledged_;
}

int FakeSessionServer::goodbye_count() const {
  const MutexLock lock(&mutex_);
  return goodbye_count_;
}

}  // namespace a8a::testing
