// grpc.health.v1 and server reflection as stock clients use them.
#include <google/protobuf/descriptor.pb.h>

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "reflection.grpc.pb.h"
#include "tests/integration/daemon/daemon_fixture.h"

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
