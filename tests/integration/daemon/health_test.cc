// grpc.health.v1 and server reflection as stock clients use them.
#include <google/protobuf/descriptor.pb.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "reflection.grpc.pb.h"
#include "tests/integration/daemon/daemon_fixture.h"
#include "tests/support/eventually.h"

namespace a8a::testing {
namespace {

using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::testing::IsSupersetOf;

const std::vector<std::string>& Services() {
  static const auto* const services =
      new std::vector<std::string>{"a8a.v1.SessionService", "a8a.v1.BufferService", "a8a.v1.GroupService",
                                   "a8a.v1.StatService", "a8a.v1.AdminService"};
  return *services;
}

std::vector<std::string> Names() {
  std::vector<std::string> names = Services();
  names.insert(names.end(), {"", "device/host"});
  return names;
}

class HealthTest : public DaemonTest {};

TEST_F(HealthTest, EveryNameServesFromTheStart) {
  for (const std::string& name : Names()) EXPECT_EQ(client_->Health(name), HealthCheckResponse::SERVING) << name;
}

TEST_F(HealthTest, UnknownNamesAreNotFound) {
  HealthCheckRequest request;
  HealthCheckResponse response;
  request.set_service("device/cuda:9");

  EXPECT_THAT(Call(client_->health.get(), &grpc::health::v1::Health::Stub::Check, request, &response),
              HasCode(grpc::StatusCode::NOT_FOUND));
}

// A Watch stream of one name.
class Watch {
 public:
  Watch(grpc::health::v1::Health::Stub* stub, const std::string& name) {
    HealthCheckRequest request;
    request.set_service(name);
    context_.set_deadline(absl::ToChronoTime(absl::Now() + kPatience));
    stream_ = stub->Watch(&context_, request);
  }
  ~Watch() {
    context_.TryCancel();
    (void)stream_->Finish();
  }
  // The next state; UNKNOWN when the stream has ended.
  HealthCheckResponse::ServingStatus Next() {
    HealthCheckResponse response;
    return stream_->Read(&response) ? response.status() : HealthCheckResponse::UNKNOWN;
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> stream_;
};

TEST_F(HealthTest, EveryWatchSeesDrainAndUndrain) {
  std::vector<std::unique_ptr<Watch>> watches;
  for (const std::string& name : Names()) {
    watches.push_back(std::make_unique<Watch>(client_->health.get(), name));
    ASSERT_EQ(watches.back()->Next(), HealthCheckResponse::SERVING) << name;
  }

  ASSERT_THAT(Drain(), IsOk());
  for (const auto& watch : watches) EXPECT_EQ(watch->Next(), HealthCheckResponse::NOT_SERVING);

  ASSERT_THAT(Undrain(), IsOk());
  for (const auto& watch : watches) EXPECT_EQ(watch->Next(), HealthCheckResponse::SERVING);
}

TEST_F(HealthTest, AWatchSeesTheStopAndDoesNotHoldItUp) {
  Watch watch(client_->health.get(), "");
  ASSERT_EQ(watch.Next(), HealthCheckResponse::SERVING);

  daemon_->Signal(SIGTERM);

  EXPECT_EQ(watch.Next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(daemon_->Wait()->code, 0);
}

TEST_F(HealthTest, AWatchOfAnUnknownNameSaysSo) {
  EXPECT_EQ(Watch(client_->health.get(), "nonsense").Next(), HealthCheckResponse::SERVICE_UNKNOWN);
}

// What can be wrong with a daemon, and which name says so; faults that take a failing system call or driver are in
// failpoint_walk_test.cc.
class HealthCatalogueTest : public DaemonTest {
 protected:
  HealthCatalogueTest() { flags_ = {"--health-interval=400ms", "--host-pool-bytes=1MiB"}; }

  bool Serving(const std::string& name) { return client_->Health(name) == HealthCheckResponse::SERVING; }
  void ExpectServing(const std::vector<std::string>& names) {
    for (const std::string& name : names) EXPECT_TRUE(Eventually([&] { return Serving(name); })) << name;
  }
  // `names` turn and `others` do not; `log` says why.
  void ExpectNotServing(const std::vector<std::string>& names, const std::vector<std::string>& others,
                        const std::string& log) {
    for (const std::string& name : names) EXPECT_TRUE(Eventually([&] { return !Serving(name); })) << name;
    for (const std::string& name : others) EXPECT_TRUE(Eventually([&] { return Serving(name); })) << name;
    EXPECT_TRUE(daemon_->WaitForLog(log)) << daemon_->log();
  }
  rlim_t LowestFreeDescriptor() const {
    rlim_t number = 0;
    while (std::filesystem::is_symlink(absl::StrCat("/proc/", daemon_->pid(), "/fd/", number))) ++number;
    return number;
  }
  // A thread of the daemon by its name; 0 if there is none.
  pid_t Thread(const std::string& wanted) const {
    const std::string tasks = absl::StrCat("/proc/", daemon_->pid(), "/task");
    for (const auto& task : std::filesystem::directory_iterator(tasks)) {
      std::string name;
      std::getline(std::ifstream(task.path() / "comm"), name);
      if (name == wanted) return std::stoi(task.path().filename().string());
    }
    return 0;
  }
};

const std::vector<std::string>& Parts() {
  static const auto* const parts =
      new std::vector<std::string>{"part/descriptors", "part/fd.sock", "part/loops", "part/state"};
  return *parts;
}

TEST_F(HealthCatalogueTest, EveryPartServesFromTheStart) { ExpectServing(Parts()); }

TEST_F(HealthCatalogueTest, AFullPool) {
  const std::unique_ptr<Session> session = client_->Attach();
  const v1::RegisterBufferResponse half = MustRegisterBuffer(session->id(), 512 << 10);
  ExpectServing({"device/host", ""});
  const v1::RegisterBufferResponse rest = MustRegisterBuffer(session->id(), 512 << 10);

  ExpectNotServing({"device/host", "a8a.v1.BufferService", "a8a.v1.GroupService", ""},
                   {"a8a.v1.SessionService", "a8a.v1.StatService", "a8a.v1.AdminService", "part/loops"},
                   "device_unhealthy device=host reason=\"the pool is full: 1048576 bytes of its limit of 1048576");

  v1::ReleaseBufferRequest request;
  v1::ReleaseBufferResponse response;
  request.set_session_id(session->id());
  request.set_buffer_id(rest.buffer().buffer_id());
  request.set_generation(rest.buffer().generation());
  ASSERT_THAT(Call(client_->buffer.get(), &v1::BufferService::Stub::ReleaseBuffer, request, &response), IsOk());
  ExpectServing(Names());
}

TEST_F(HealthCatalogueTest, AnFdSocketThatNobodyReaches) {
  const std::string path = daemon_->fd_socket_path();
  std::filesystem::rename(path, path + ".away");

  ExpectNotServing({"part/fd.sock", "a8a.v1.BufferService", "a8a.v1.GroupService", ""},
                   {"a8a.v1.AdminService", "device/host", "part/loops"}, "part_unhealthy part=fd.sock reason=");

  std::filesystem::rename(path + ".away", path);
  ExpectServing(Names());
  ExpectServing(Parts());
}

TEST_F(HealthCatalogueTest, NoDescriptorLeft) {
  rlimit before = {};
  ASSERT_EQ(::prlimit(daemon_->pid(), RLIMIT_NOFILE, nullptr, &before), 0);
  // Down to the lowest number that is free; again, since some are free only for a moment.
  EXPECT_TRUE(Eventually([&] {
    const rlimit none = {.rlim_cur = LowestFreeDescriptor(), .rlim_max = before.rlim_max};
    return ::prlimit(daemon_->pid(), RLIMIT_NOFILE, &none, nullptr) == 0 && !Serving("part/descriptors");
  }));

  // Others may turn with them: a look at a socket takes a descriptor itself.
  ExpectNotServing({"part/descriptors", "device/host", "a8a.v1.SessionService", "a8a.v1.GroupService", ""}, {},
                   "part_unhealthy part=descriptors reason=");

  ASSERT_EQ(::prlimit(daemon_->pid(), RLIMIT_NOFILE, &before, nullptr), 0);
  ExpectServing(Names());
  ExpectServing(Parts());
}

// By a tracer, since a signal would stop all threads.
TEST_F(HealthCatalogueTest, ALoopThatStandsStill) {
  for (const auto& [thread, name] : std::vector<std::pair<std::string, std::string>>{
           {"a8a-timers", "part/loops"}, {"a8a-accept", "part/loops"}, {"a8a-fd", "part/fd.sock"}}) {
    SCOPED_TRACE(thread);
    ExpectServing(Parts());
    const pid_t tid = Thread(thread);
    ASSERT_NE(tid, 0);
    if (::ptrace(PTRACE_SEIZE, tid, nullptr, nullptr) != 0) GTEST_SKIP() << "no ptrace here: " << std::strerror(errno);
    ASSERT_EQ(::ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr), 0);
    ASSERT_EQ(::waitpid(tid, nullptr, __WALL), tid);

    ExpectNotServing({name, "a8a.v1.BufferService", ""}, {"part/descriptors"},
                     absl::StrCat("part_unhealthy part=", name.substr(name.find('/') + 1), " reason="));

    ASSERT_EQ(::ptrace(PTRACE_DETACH, tid, nullptr, nullptr), 0);
    ExpectServing(Names());
    ExpectServing(Parts());
  }
}

class ReflectionTest : public DaemonTest {
 protected:
  using Request = grpc::reflection::v1alpha::ServerReflectionRequest;
  using Response = grpc::reflection::v1alpha::ServerReflectionResponse;

  Response Ask(const Request& request) {
    grpc::ClientContext context;
    const auto stub = grpc::reflection::v1alpha::ServerReflection::NewStub(client_->channel);
    const auto stream = stub->ServerReflectionInfo(&context);
    Response response;
    EXPECT_TRUE(stream->Write(request));
    EXPECT_TRUE(stream->Read(&response));
    stream->WritesDone();
    EXPECT_THAT(stream->Finish(), IsOk());
    return response;
  }
  // Full names of all services in the file that defines `symbol`.
  std::set<std::string> ServicesBeside(const std::string& symbol) {
    Request request;
    request.set_file_containing_symbol(symbol);
    std::set<std::string> names;
    const Response response = Ask(request);
    for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
      google::protobuf::FileDescriptorProto file;
      EXPECT_TRUE(file.ParseFromString(bytes));
      for (const auto& service : file.service()) names.insert(file.package() + "." + service.name());
    }
    return names;
  }
};

TEST_F(ReflectionTest, ListsEveryService) {
  Request request;
  request.set_list_services("*");

  std::vector<std::string> names;
  const Response response = Ask(request);
  for (const auto& service : response.list_services_response().service()) names.push_back(service.name());

  EXPECT_THAT(names, IsSupersetOf(Services()));
  EXPECT_THAT(names, IsSupersetOf({"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}));
}

TEST_F(ReflectionTest, DescribesEveryServiceHealthIncluded) {
  std::vector<std::string> symbols = Services();
  symbols.push_back("grpc.health.v1.Health");

  for (const std::string& symbol : symbols) EXPECT_EQ(ServicesBeside(symbol).count(symbol), 1U) << symbol;
}

}  // namespace
}  // namespace a8a::testing
