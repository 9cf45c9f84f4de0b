// What the daemon knows, as tables.
#ifndef A8A_CLIENT_TOOLS_CTL_VIEWS_H_
#define A8A_CLIENT_TOOLS_CTL_VIEWS_H_

#include <string>
#include <vector>

#include "a8a/v1/common.pb.h"
#include "a8a/v1/stat_service.pb.h"
#include "absl/strings/string_view.h"
#include "client/tools/ctl/table.h"

namespace a8a::ctl {

// `health` as Daemon::CheckHealth says for "".
[[nodiscard]] std::string StatusView(const v1::Stats& stats, absl::string_view health, const Style& style);
[[nodiscard]] std::string DevicesView(const v1::Stats& stats, const Style& style);
[[nodiscard]] std::string SessionsView(const v1::Stats& stats, const Style& style);
[[nodiscard]] std::string GroupsView(const v1::Stats& stats, const Style& style);
[[nodiscard]] std::string BuffersView(const std::vector<v1::Buffer>& buffers, const Style& style);
// Counters since the start of each group, one row a rank.
[[nodiscard]] std::string CountersView(const v1::Stats& stats, const Style& style);

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_VIEWS_H_
