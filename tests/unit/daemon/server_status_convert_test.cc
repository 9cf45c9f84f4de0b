#include <gtest/gtest.h>

#include <string>

#include "daemon/status_convert.h"

namespace a8a::daemon {
namespace {

TEST(ToGrpcStatusTest, EveryCodeKeepsItsNameAndMessage) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status status = ToGrpcStatus(absl::Status(static_cast<absl::StatusCode>(code), "message"));

    EXPECT_EQ(status.error_code(), code);
    EXPECT_EQ(status.error_message(), "message");
  }
}

TEST(ToGrpcStatusTest, OkStaysOk) { EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok()); }

TEST(ToGrpcStatusTest, LongMessagesAreCutToFitMetadata) {
  const grpc::Status status = ToGrpcStatus(absl::InternalError(std::string(100000, 'x')));

  EXPECT_EQ(status.error_message().size(), 1024U);
}

}  // namespace
}  // namespace a8a::daemon
