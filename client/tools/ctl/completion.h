// Completion scripts for shells, made from the command line's own description.
#ifndef A8A_CLIENT_TOOLS_CTL_COMPLETION_H_
#define A8A_CLIENT_TOOLS_CTL_COMPLETION_H_

#include <CLI/App.hpp>
#include <string>

namespace a8a::ctl {

// For "bash", "zsh" or "fish".
[[nodiscard]] std::string CompletionScript(const std::string& shell, CLI::App* app);

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_COMPLETION_H_
