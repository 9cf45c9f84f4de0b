// soak_observer RUNTIME_DIR: answers the driver's questions about the daemon, one line of JSON each: "stats" from
// standard input gives Stats of proto/a8a/v1/stat_service.proto, "health" {"serving": true|false}. {"error": ...} where
// the daemon does not answer. Each question is a connection of its own, as of a monitoring tool.
#include <google/protobuf/util/json_util.h>

#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/time/time.h"
#include "tests/integration/daemon/daemon_client.h"

namespace a8a::soak {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(5);

std::string Failed(const grpc::Status& status) {
  return nlohmann::json({{"error", status.error_message()}, {"code", static_cast<int>(status.error_code())}}).dump();
}

std::string Stats(const testing::DaemonClient& client) {
  v1::GetStatsResponse response;
  const grpc::Status status =
      testing::Call(client.stat.get(), &v1::StatService::Stub::GetStats, v1::GetStatsRequest(), &response, kTimeout);
  if (!status.ok()) return Failed(status);
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string text;
  static_cast<void>(google::protobuf::util::MessageToJsonString(response.stats(), &text, options));
  return text;
}

std::string Health(const testing::DaemonClient& client) {
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = testing::Call(client.health.get(), &grpc::health::v1::Health::Stub::Check,
                                            grpc::health::v1::HealthCheckRequest(), &response, kTimeout);
  if (!status.ok()) return Failed(status);
  const bool serving = response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
  return nlohmann::json({{"serving", serving}}).dump();
}

}  // namespace
}  // namespace a8a::soak

int main(int argc, char** argv) {
  if (argc != 2) {
    std::cerr << "usage: soak_observer RUNTIME_DIR\n";
    return 2;
  }
  std::string question;
  while (std::getline(std::cin, question)) {
    const a8a::testing::DaemonClient client(std::string("unix:") + argv[1] + "/a8a.sock");
    std::cout << (question == "health" ? a8a::soak::Health(client) : a8a::soak::Stats(client)) << std::endl;
  }
}
