// a8a.v1.AdminService: translates to the core, which checks that the caller is an administrator.
#ifndef A8A_DAEMON_ADMIN_SERVICE_H_
#define A8A_DAEMON_ADMIN_SERVICE_H_

#include "a8a/v1/admin_service.grpc.pb.h"
#include "daemon/health.h"
#include "daemon/service_deps.h"
#include "daemon/settings.h"

namespace a8a::daemon {

class AdminService final : public v1::AdminService::CallbackService {
 public:
  // `health` and `settings` outlive the service.
  AdminService(const ServiceDeps& deps, Health* health, Settings* settings)
      : deps_(deps), health_(health), settings_(settings) {}

  grpc::ServerUnaryReactor* Drain(grpc::CallbackServerContext* context, const v1::DrainRequest* request,
                                  v1::DrainResponse* response) override;
  grpc::ServerUnaryReactor* Undrain(grpc::CallbackServerContext* context, const v1::UndrainRequest* request,
                                    v1::UndrainResponse* response) override;
  grpc::ServerUnaryReactor* Revoke(grpc::CallbackServerContext* context, const v1::RevokeRequest* request,
                                   v1::RevokeResponse* response) override;
  grpc::ServerUnaryReactor* ReloadConfig(grpc::CallbackServerContext* context, const v1::ReloadConfigRequest* request,
                                         v1::ReloadConfigResponse* response) override;

 private:
  const ServiceDeps deps_;
  Health* const health_;
  Settings* const settings_;
};

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_ADMIN_SERVICE_H_
