#include "daemon/config_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOML_EXCEPTIONS 0
#define TOML_HEADER_ONLY 1
#include <toml++/toml.h>

#include <cerrno>
#include <optional>
#include <sstream>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {
namespace {

// The table has some twenty keys; a file beyond this is not a config file.
constexpr std::size_t kFileBytesMax = 1 << 20;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open config file ", path));
  std::string text;
  char chunk[4096];
  while (text.size() <= kFileBytesMax) {
    const ssize_t count = ::read(fd.get(), chunk, sizeof(chunk));
    if (count < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read config file ", path));
    if (count == 0) return text;
    text.append(chunk, static_cast<std::size_t>(count));
  }
  return absl::InvalidArgumentError(absl::StrCat(path, ": has more than ", kFileBytesMax, " bytes"));
}

absl::Status ErrorAt(const std::string& path, const toml::source_region& place, absl::string_view text) {
  return absl::InvalidArgumentError(absl::StrCat(path, ":", place.begin.line, ": ", text));
}

const OptionSpec* FindOption(absl::string_view key) {
  for (const OptionSpec& spec : OptionTable()) {
    if (spec.key() == key) return &spec;
  }
  return nullptr;
}

std::string AllKeys() {
  return absl::StrJoin(OptionTable(), ", ",
                       [](std::string* out, const OptionSpec& spec) { absl::StrAppend(out, spec.key()); });
}

std::string TypeName(TomlType type) {
  switch (type) {
    case TomlType::kString:
      return "a string";
    case TomlType::kInteger:
      return "an integer";
    case TomlType::kBoolean:
      return "true or false";
    case TomlType::kStringOrInteger:
      return "a string or an integer";
    case TomlType::kIntegerList:
      return "a list of integers";
  }
  return "";
}

std::string TypeName(toml::node_type type) {
  std::ostringstream text;
  text << type;
  return text.str();
}

// The list as a flag writes it, "1000,1001".
std::optional<std::string> ListText(const toml::node& node) {
  const toml::array* array = node.as_array();
  if (array == nullptr || (!array->empty() && !array->is_homogeneous<std::int64_t>())) return std::nullopt;
  return absl::StrJoin(
      *array, ",", [](std::string* out, const toml::node& item) { absl::StrAppend(out, *item.value<std::int64_t>()); });
}

// The value as a flag writes it; nothing if its type is not `type`.
std::optional<std::string> ValueText(const toml::node& node, TomlType type) {
  const bool string_allowed = type == TomlType::kString || type == TomlType::kStringOrInteger;
  const bool integer_allowed = type == TomlType::kInteger || type == TomlType::kStringOrInteger;
  if (type == TomlType::kIntegerList) return ListText(node);
  if (string_allowed && node.is_string()) return node.value<std::string>();
  if (integer_allowed && node.is_integer()) return absl::StrCat(*node.value<std::int64_t>());
  if (type == TomlType::kBoolean && node.is_boolean()) return *node.value<bool>() ? "true" : "false";
  return std::nullopt;
}

absl::Status ApplyValue(const std::string& path, const toml::key& key, const toml::node& node, Options* options) {
  const std::string name(key.str());
  const OptionSpec* spec = FindOption(name);
  if (spec == nullptr) {
    return ErrorAt(path, key.source(), absl::StrCat(name, ": unknown key; allowed: ", AllKeys()));
  }
  const std::optional<std::string> text = ValueText(node, spec->toml_type);
  if (!text.has_value()) {
    return ErrorAt(
        path, node.source(),
        absl::StrCat(name, ": is of type ", TypeName(node.type()), "; allowed: ", TypeName(spec->toml_type)));
  }
  const absl::Status status = spec->parse(*text, options);
  if (status.ok()) return status;
  return ErrorAt(path, node.source(), absl::StrCat(name, ": ", status.message()));
}

}  // namespace

absl::Status ApplyConfigFile(const std::string& path, Options* options) {
  A8A_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  const toml::parse_result result = toml::parse(text, path);
  if (!result) return ErrorAt(path, result.error().source(), std::string(result.error().description()));
  for (const auto& [key, node] : result.table()) A8A_RETURN_IF_ERROR(ApplyValue(path, key, node, options));
  return absl::OkStatus();
}

}  // namespace a8a::daemon
