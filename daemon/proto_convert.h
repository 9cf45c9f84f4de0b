// The core's types as messages of a8a.v1. Pure functions.
#ifndef A8A_DAEMON_PROTO_CONVERT_H_
#define A8A_DAEMON_PROTO_CONVERT_H_

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include "a8a/v1/buffer_service.pb.h"
#include "a8a/v1/common.pb.h"
#include "a8a/v1/group_service.pb.h"
#include "a8a/v1/session_service.pb.h"
#include "a8a/v1/stat_service.pb.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/core/core.h"

namespace a8a::daemon {

void ToProto(const DeviceInfo& device, v1::Device* message);
void ToProto(const BufferInfo& buffer, v1::Buffer* message);
void ToProto(const TicketGrant& ticket, v1::Ticket* message);
void ToProto(const GroupInfo& group, v1::Group* message);
void ToProto(const JoinGrant& grant, v1::JoinGroupResponse* message);
void ToProto(const WindowGrant& grant, v1::RegisterWindowResponse* message);
// An event of a session; SessionEndedEvent has no message, it is the stream's status.
void ToProto(const SessionEvent& event, v1::AttachResponse* message);
// All but Stats.daemon and DeviceStats.healthy, which the core does not know.
void ToProto(const CoreSnapshot& snapshot, v1::Stats* message);

void ToProto(absl::Duration duration, google::protobuf::Duration* message);
void ToProto(absl::Time time, google::protobuf::Timestamp* message);
// Errors: INVALID_ARGUMENT when nanos is out of range or its sign differs. [google/protobuf/duration.proto]
[[nodiscard]] absl::StatusOr<absl::Duration> FromProto(const google::protobuf::Duration& message);
[[nodiscard]] JoinOptions FromProto(const v1::JoinGroupRequest& request);
[[nodiscard]] WindowOptions FromProto(const v1::RegisterWindowRequest& request);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_PROTO_CONVERT_H_
