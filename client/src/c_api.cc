// The C interface around the C++ one: handles, codes instead of Status, and the text of the last failure.
#include <exception>
#include <memory>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "a8a/a8a.h"
#include "a8a/client.h"
#include "a8a/group.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "kernels/base/status_macros.h"
#include "kernels/base/version.h"

struct a8a_client {
  std::unique_ptr<a8a::Client> client;
  std::vector<a8a::Device> devices;  // names handed out live here
};
struct a8a_buffer {
  std::unique_ptr<a8a::Buffer> buffer;
};
struct a8a_group {
  std::unique_ptr<a8a::Group> group;
};
struct a8a_window {
  std::unique_ptr<a8a::Window> window;
};
struct a8a_plan {
  a8a::Plan plan;
};

namespace {

std::string& LastError() {
  thread_local std::string text;
  return text;
}

std::int32_t Fail(absl::StatusCode code, absl::string_view text) noexcept {
  try {
    LastError() = std::string(text);
  } catch (const std::bad_alloc&) {
    LastError().clear();
  }
  return static_cast<std::int32_t>(code);
}

// Runs the body of a function that returns a code.
template <typename Body>
std::int32_t Run(Body body) noexcept {
  try {
    const absl::Status status = body();
    return status.ok() ? A8A_OK : Fail(status.code(), status.message());
  } catch (const std::bad_alloc&) {
    return Fail(absl::StatusCode::kResourceExhausted, "this process has no memory left");
  } catch (const std::exception& error) {
    return Fail(absl::StatusCode::kInternal, error.what());
  }
}

absl::Status CheckNotNull(const void* pointer, absl::string_view name) {
  if (pointer != nullptr) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is NULL"));
}

template <typename Struct>
absl::Status CheckStruct(const Struct* value, absl::string_view name) {
  A8A_RETURN_IF_ERROR(CheckNotNull(value, name));
  if (value->struct_size == sizeof(Struct)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, "->struct_size is ", value->struct_size, "; this library's is ", sizeof(Struct)));
}

absl::Status CheckTimeout(std::int64_t timeout_ns, absl::string_view name) {
  if (timeout_ns >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " ", timeout_ns, " is negative"));
}

std::string TextOr(const char* text, const char* fallback) { return text == nullptr ? fallback : text; }

absl::Duration TimeoutOr(std::int64_t timeout_ns, absl::Duration fallback) {
  return timeout_ns == 0 ? fallback : absl::Nanoseconds(timeout_ns);
}

a8a::View ToView(const a8a_view& view) {
  return {.outer_size = view.outer_size,
          .inner_size = view.inner_size,
          .outer_stride_bytes = view.outer_stride_bytes,
          .inner_stride_bytes = view.inner_stride_bytes,
          .row_bytes = view.row_bytes};
}

absl::StatusOr<a8a::Splits> ToSplits(const a8a_splits& splits) {
  if (splits.index_bytes != 4 && splits.index_bytes != 8) {
    return absl::InvalidArgumentError(absl::StrCat("splits.index_bytes is ", splits.index_bytes, "; must be 4 or 8"));
  }
  return a8a::Splits{splits.input, splits.output, splits.input_offsets, splits.output_offsets,
                     splits.index_bytes == 8 ? a8a::IndexType::kInt64 : a8a::IndexType::kInt32};
}

a8a::Input ToInput(const a8a_all_to_all_params& params) {
  return {.data = params.input, .view = ToView(params.input_view)};
}

a8a::Output ToOutput(const a8a_all_to_all_params& params) {
  return {.window = params.window == nullptr ? nullptr : params.window->window.get(),
          .offset_bytes = params.output_offset_bytes,
          .view = ToView(params.output_view)};
}

absl::StatusOr<a8a::JoinOptions> ToJoinOptions(const a8a_join_options* options) {
  A8A_RETURN_IF_ERROR(CheckStruct(options, "options"));
  A8A_RETURN_IF_ERROR(CheckNotNull(options->name, "options->name"));
  A8A_RETURN_IF_ERROR(CheckTimeout(options->timeout_ns, "options->timeout_ns"));
  A8A_RETURN_IF_ERROR(CheckTimeout(options->all_to_all_timeout_ns, "options->all_to_all_timeout_ns"));
  a8a::JoinOptions join = {.name = options->name, .rank = options->rank, .world_size = options->world_size};
  join.device.name = TextOr(options->device, "host");
  if (options->channel_count != 0) join.channel_count = options->channel_count;
  if (options->secret != nullptr) join.secret.assign(options->secret, options->secret_size);
  join.timeout = TimeoutOr(options->timeout_ns, join.timeout);
  join.all_to_all_timeout = TimeoutOr(options->all_to_all_timeout_ns, join.all_to_all_timeout);
  return join;
}

absl::StatusOr<a8a::ConnectOptions> ToConnectOptions(const a8a_connect_options* options) {
  a8a::ConnectOptions connect;
  if (options == nullptr) return connect;
  A8A_RETURN_IF_ERROR(CheckStruct(options, "options"));
  A8A_RETURN_IF_ERROR(CheckTimeout(options->timeout_ns, "options->timeout_ns"));
  connect.runtime_dir = TextOr(options->runtime_dir, "/run/a8a");
  connect.client_name = TextOr(options->client_name, "");
  connect.timeout = TimeoutOr(options->timeout_ns, connect.timeout);
  return connect;
}

// What both kinds of registration share. `with`: absl::StatusOr<std::unique_ptr<a8a::Window>>(absl::Duration timeout).
template <typename With>
std::int32_t RegisterWindow(a8a_group* group, const char* name, std::int64_t timeout_ns, a8a_window** window,
                            With with) {
  return Run([&]() -> absl::Status {
    A8A_RETURN_IF_ERROR(CheckNotNull(window, "window"));
    *window = nullptr;
    A8A_RETURN_IF_ERROR(CheckNotNull(group, "group"));
    A8A_RETURN_IF_ERROR(CheckNotNull(name, "name"));
    A8A_RETURN_IF_ERROR(CheckTimeout(timeout_ns, "timeout_ns"));
    A8A_ASSIGN_OR_RETURN(std::unique_ptr<a8a::Window> registered, with(TimeoutOr(timeout_ns, absl::Seconds(60))));
    *window = new a8a_window{std::move(registered)};
    return absl::OkStatus();
  });
}

}  // namespace

extern "C" {

const char* a8a_version(void) { return a8a::kVersion; }

const char* a8a_last_error(void) { return LastError().c_str(); }

const char* a8a_status_name(std::int32_t code) {
  static const char* const kNames[] = {
      "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
      "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
      "DATA_LOSS", "UNAUTHENTICATED"};
  return code >= 0 && code < static_cast<std::int32_t>(std::size(kNames)) ? kNames[code] : "";
}

std::int32_t a8a_connect(const a8a_connect_options* options, a8a_client** client) {
  return Run([&]() -> absl::Status {
    A8A_RETURN_IF_ERROR(CheckNotNull(client, "client"));
    *client = nullptr;
    A8A_ASSIGN_OR_RETURN(const a8a::ConnectOptions connect, ToConnectOptions(options));
    A8A_ASSIGN_OR_RETURN(std::unique_ptr<a8a::Client> connected, a8a::Client::Connect(connect));
    std::vector<a8a::Device> devices = connected->devices();
    *client = new a8a_client{std::move(connected), std::move(devices)};
    return absl::OkStatus();
  });
}

void a8a_disconnect(a8a_client* client) { delete client; }

std::int32_t a8a_client_status(const a8a_client* client) {
  return Run([&]() -> absl::Status {
    A8A_RETURN_IF_ERROR(CheckNotNull(client, "client"));
    return client->client->status();
  });
}

std::uint64_t a8a_client_session_id(const a8a_client* client) {
  return client == nullptr ? 0 : client->client->session_id();
}

std::int32_t a8a_client_draining(const a8a_client* client) {
  return client != nullptr && client->client->draining() ? 1 : 0;
}

std::int32_t a8a_client_device_count(const a8a_client* client) {
  return client == nullptr ? 0 : static_cast<std::int32_t>(client->devices.size());
}

const char* a8a_client_device_name(const a8a_client* client, std::int32_t index) {
  if (index < 0 || index >= a8a_client_device_count(client)) return nullptr;
  return client->devices[static_cast<std::size_t>(index)].name.c_str();
}

std::int32_t a8a_buffer_register(a8a_client* client, std::int64_t size_bytes, const char* device, const char* name,
                                 std::int64_t timeout_ns, a8a_buffer** buffer) {
  return Run([&]() -> absl::Status {
    A8A_RETURN_IF_ERROR(CheckNotNull(buffer, "buffer"));
    *buffer = nullptr;
    A8A_RETURN_IF_ERROR(CheckNotNull(client, "client"));
    A8A_RETURN_IF_ERROR(CheckTimeout(timeout_ns, "timeout_ns"));
    a8a::BufferOptions options = {.size_bytes = size_bytes, .name = TextOr(name, "")};
    options.device.name = TextOr(device, "host");
    options.timeout = TimeoutOr(timeout_ns, options.timeout);
    A8A_ASSIGN_OR_RETURN(std::unique_ptr<a8a::Buffer> registered, client->client->RegisterBuffer(options));
    *buffer = new a8a_buffer{std::move(registered)};
    return absl::OkStatus();
  });
}

void a8a_buffer_release(a8a_buffer* buffer) { delete buffer; }

void* a8a_buffer_data(const a8a_buffer* buffer) { return buffer == nullptr ? nullptr : buffer->buffer->data(); }

std::int64_t a8a_buffer_size_bytes(const a8a_buffer* buffer) {
  return buffer == nullptr ? 0 : buffer->buffer->size_bytes();
}

std::uint64_t a8a_buffer_id(const a8a_buffer* buffer) { return buffer == nullptr ? 0 : buffer->buffer->id(); }

std::int32_t a8a_buffer_status(const a8a_buffer* buffer) {
  return Run([&]() -> absl::Status {
    A8A_RETURN_IF_ERROR(CheckNotNull(buffer, "buffer"));
    return buffer->buffer->status();
  });
}

std::int32_t a8a_join(a8a_client* client, const a8a_join_options* options, a8a_group** group) {
  return Run([&]() -> absl::Status {
    A8A_RETURN_IF_ERROR(CheckNotNull(group, "group"));
    *group = nullptr;
    A8A_RETURN_IF_ERROR(CheckNotNull(client, "client"));
    A8A_ASSIGN_OR_RETURN(const a8a::JoinOptions join, ToJoinOptions(options));
    A8A_ASSIGN_OR_RETURN(std::unique_ptr<a8a::Group> joined, client->client->Join(join));
    *group = new a8a_group{std::move(joined)};
    return absl::OkStatus();
  });
}

void a8a_leave(a8a_group* group) { delete group; }

std::int32_t a8a_group_rank(const a8a_group* group) { return group == nullptr ? -1 : group->group->rank(); }
std::int32_t a8a_group_world_size(const a8a_group* group) { return group == nullptr ? 0 : group->group->world_size(); }
std::int32_t a8a_group_channel_count(const a8a_group* group) {
  return group == nullptr ? 0 : group->group->channel_count();
}
std::uint64_t a8a_group_id(const a8a_group* group) { return group == nullptr ? 0 : group->group->id(); }
std::int64_t a8a_group_overhead_bytes(const a8a_group* group) {
  return group == nullptr ? 0 : group->group->overhead_bytes();
}

std::int32_t a8a_register_window(a8a_group* group, const char* name, std::int64_t size_bytes, std::int64_t timeout_ns,
                                 a8a_window** window) {
  return RegisterWindow(group, name, timeout_ns, window, [&](absl::Duration timeout) {
    return group->group->RegisterWindow(name, size_bytes, timeout);
  });
}

std::int32_t a8a_register_window_on(a8a_group* group, const char* name, void* data, std::int64_t size_bytes,
                                    std::int64_t timeout_ns, a8a_window** window) {
  return RegisterWindow(group, name, timeout_ns, window, [&](absl::Duration timeout) {
    return group->group->RegisterWindowOn(name, data, size_bytes, timeout);
  });
}

void a8a_window_release(a8a_window* window) { delete window; }

void* a8a_window_data(const a8a_window* window) { return window == nullptr ? nullptr : window->window->data(); }
std::int64_t a8a_window_size_bytes(const a8a_window* window) {
  return window == nullptr ? 0 : window->window->size_bytes();
}
std::int32_t a8a_window_index(const a8a_window* window) { return window == nullptr ? -1 : window->window->index(); }
const char* a8a_window_name(const a8a_window* window) {
  return window == nullptr ? nullptr : window->window->name().c_str();
}

std::int32_t a8a_all_to_all(a8a_group* group, const a8a_all_to_all_params* params) {
  return Run([&]() -> absl::Status {
    A8A_RETURN_IF_ERROR(CheckNotNull(group, "group"));
    A8A_RETURN_IF_ERROR(CheckStruct(params, "params"));
    A8A_ASSIGN_OR_RETURN(const a8a::Splits splits, ToSplits(params->splits));
    return group->group->AllToAll(ToInput(*params), ToOutput(*params), splits, a8a::Channel{params->channel},
                                  params->stream);
  });
}

std::int32_t a8a_plan_create(a8a_plan** plan) {
  return Run([&]() -> absl::Status {
    A8A_RETURN_IF_ERROR(CheckNotNull(plan, "plan"));
    *plan = nullptr;
    *plan = new a8a_plan();
    return absl::OkStatus();
  });
}

void a8a_plan_destroy(a8a_plan* plan) { delete plan; }

std::int32_t a8a_prepare(a8a_group* group, a8a_plan* plan, const a8a_all_to_all_params* params) {
  return Run([&]() -> absl::Status {
    A8A_RETURN_IF_ERROR(CheckNotNull(group, "group"));
    A8A_RETURN_IF_ERROR(CheckNotNull(plan, "plan"));
    A8A_RETURN_IF_ERROR(CheckStruct(params, "params"));
    A8A_ASSIGN_OR_RETURN(const a8a::Splits splits, ToSplits(params->splits));
    return group->group->Prepare(&plan->plan, ToInput(*params), ToOutput(*params), splits,
                                 a8a::Channel{params->channel}, params->stream);
  });
}

std::int32_t a8a_all_to_all_prepared(a8a_group* group, const a8a_plan* plan, const void* input, a8a_stream stream) {
  return Run([&]() -> absl::Status {
    A8A_RETURN_IF_ERROR(CheckNotNull(group, "group"));
    A8A_RETURN_IF_ERROR(CheckNotNull(plan, "plan"));
    return group->group->AllToAll(plan->plan, input, stream);
  });
}

std::int32_t a8a_check_status(a8a_group* group, std::int32_t channel) {
  return Run([&]() -> absl::Status {
    A8A_RETURN_IF_ERROR(CheckNotNull(group, "group"));
    return group->group->CheckStatus(a8a::Channel{channel});
  });
}

std::int32_t a8a_abort(a8a_group* group, const char* message, std::int64_t timeout_ns) {
  return Run([&]() -> absl::Status {
    A8A_RETURN_IF_ERROR(CheckNotNull(group, "group"));
    A8A_RETURN_IF_ERROR(CheckTimeout(timeout_ns, "timeout_ns"));
    return group->group->Abort(TextOr(message, ""), TimeoutOr(timeout_ns, absl::Seconds(10)));
  });
}

}  // extern "C"
