// What --json prints. Field names are those of proto/a8a/v1 and stable; client/tools/ctl/README.md lists them.
#ifndef A8A_CLIENT_TOOLS_CTL_JSON_H_
#define A8A_CLIENT_TOOLS_CTL_JSON_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "a8a/v1/common.pb.h"
#include "a8a/v1/stat_service.pb.h"

namespace a8a::ctl {

[[nodiscard]] nlohmann::ordered_json DaemonJson(const v1::DaemonStats& daemon);
[[nodiscard]] nlohmann::ordered_json DevicesJson(const v1::Stats& stats);
[[nodiscard]] nlohmann::ordered_json SessionsJson(const v1::Stats& stats);
[[nodiscard]] nlohmann::ordered_json GroupsJson(const v1::Stats& stats);
[[nodiscard]] nlohmann::ordered_json BuffersJson(const std::vector<v1::Buffer>& buffers);
// Counters of every rank of every group.
[[nodiscard]] nlohmann::ordered_json CountersJson(const v1::Stats& stats);

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_JSON_H_
