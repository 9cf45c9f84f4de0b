// Looks at this machine and its daemon as somebody would to whom a8a does not work, and says how to mend what is wrong.
#ifndef A8A_CLIENT_TOOLS_CTL_DOCTOR_H_
#define A8A_CLIENT_TOOLS_CTL_DOCTOR_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/tools/ctl/table.h"

namespace a8a::ctl {

enum class Verdict { kOk, kSkipped, kWarning, kFailed };

struct Finding {
  std::string check;  // stable names: "sockets", "limits", ...
  Verdict verdict = Verdict::kOk;
  std::string text;
  std::string mend = {};  // what to do; empty where nothing is wrong
};

// In the order in which to mend them.
[[nodiscard]] std::vector<Finding> Examine(const std::string& runtime_dir, absl::Duration timeout);
[[nodiscard]] bool AnyFailed(const std::vector<Finding>& findings);

[[nodiscard]] std::string FindingsView(const std::vector<Finding>& findings, const Style& style);
[[nodiscard]] nlohmann::ordered_json FindingsJson(const std::vector<Finding>& findings);

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_DOCTOR_H_
