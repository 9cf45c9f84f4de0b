// a8a.v1.GroupService: translates to the core, which validates.
#ifndef A8A_DAEMON_GROUP_SERVICE_H_
#define A8A_DAEMON_GROUP_SERVICE_H_

#include "a8a/v1/group_service.grpc.pb.h"
#include "daemon/service_deps.h"

namespace a8a::daemon {

class GroupService final : public v1::GroupService::CallbackService {
 public:
  explicit GroupService(const ServiceDeps& deps) : deps_(deps) {}

  grpc::ServerUnaryReactor* JoinGroup(grpc::CallbackServerContext* context, const v1::JoinGroupRequest* request,
                                      v1::JoinGroupResponse* response) override;
  grpc::ServerUnaryReactor* RegisterWindow(grpc::CallbackServerContext* context,
                                           const v1::RegisterWindowRequest* request,
                                           v1::RegisterWindowResponse* response) override;
  grpc::ServerUnaryReactor* ReleaseWindow(grpc::CallbackServerContext* context, const v1::ReleaseWindowRequest* request,
                                          v1::ReleaseWindowResponse* response) override;
  grpc::ServerUnaryReactor* AbortGroup(grpc::CallbackServerContext* context, const v1::AbortGroupRequest* request,
                                       v1::AbortGroupResponse* response) override;
  grpc::ServerUnaryReactor* LeaveGroup(grpc::CallbackServerContext* context, const v1::LeaveGroupRequest* request,
                                       v1::LeaveGroupResponse* response) override;
  grpc::ServerUnaryReactor* GetGroup(grpc::CallbackServerContext* context, const v1::GetGroupRequest* request,
                                     v1::GetGroupResponse* response) override;
  grpc::ServerUnaryReactor* ListGroups(grpc::CallbackServerContext* context, const v1::ListGroupsRequest* request,
                                       v1::ListGroupsResponse* response) override;

 private:
  const ServiceDeps deps_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_GROUP_SERVICE_H_
