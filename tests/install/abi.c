/* The binary interface of a8a.h 1, as programs that were compiled against it have it: signatures, layouts, values. What
 * fails here breaks them, and takes another SOVERSION, unless it is an addition, which gets a line. LP64, as all Linux
 * that has GPUs. */
#include <stddef.h>
#include <stdint.h>

#include "a8a/a8a.h"

_Static_assert(sizeof(void*) == 8 && sizeof(size_t) == 8, "LP64");

#define SAME_FIELD(type, member, member_type, offset)                                       \
  _Static_assert(offsetof(type, member) == (offset), "offset of " #type "." #member);       \
  _Static_assert(__builtin_types_compatible_p(__typeof__(((type*)0)->member), member_type), \
                 "type of " #type "." #member)
#define SAME_SIZE(type, size) _Static_assert(sizeof(type) == (size), "size of " #type)
#define SAME_VALUE(name, value) _Static_assert((name) == (value), "value of " #name)

SAME_VALUE(A8A_OK, 0);
SAME_VALUE(A8A_CANCELLED, 1);
SAME_VALUE(A8A_UNKNOWN, 2);
SAME_VALUE(A8A_INVALID_ARGUMENT, 3);
SAME_VALUE(A8A_DEADLINE_EXCEEDED, 4);
SAME_VALUE(A8A_NOT_FOUND, 5);
SAME_VALUE(A8A_ALREADY_EXISTS, 6);
SAME_VALUE(A8A_PERMISSION_DENIED, 7);
SAME_VALUE(A8A_RESOURCE_EXHAUSTED, 8);
SAME_VALUE(A8A_FAILED_PRECONDITION, 9);
SAME_VALUE(A8A_ABORTED, 10);
SAME_VALUE(A8A_OUT_OF_RANGE, 11);
SAME_VALUE(A8A_UNIMPLEMENTED, 12);
SAME_VALUE(A8A_INTERNAL, 13);
SAME_VALUE(A8A_UNAVAILABLE, 14);

_Static_assert(__builtin_types_compatible_p(a8a_stream, void*), "type of a8a_stream");

SAME_SIZE(a8a_connect_options, 32);
SAME_FIELD(a8a_connect_options, struct_size, size_t, 0);
SAME_FIELD(a8a_connect_options, runtime_dir, const char*, 8);
SAME_FIELD(a8a_connect_options, client_name, const char*, 16);
SAME_FIELD(a8a_connect_options, timeout_ns, int64_t, 24);

SAME_SIZE(a8a_join_options, 72);
SAME_FIELD(a8a_join_options, struct_size, size_t, 0);
SAME_FIELD(a8a_join_options, name, const char*, 8);
SAME_FIELD(a8a_join_options, rank, int32_t, 16);
SAME_FIELD(a8a_join_options, world_size, int32_t, 20);
SAME_FIELD(a8a_join_options, device, const char*, 24);
SAME_FIELD(a8a_join_options, channel_count, int32_t, 32);
SAME_FIELD(a8a_join_options, secret, const char*, 40);
SAME_FIELD(a8a_join_options, secret_size, size_t, 48);
SAME_FIELD(a8a_join_options, timeout_ns, int64_t, 56);
SAME_FIELD(a8a_join_options, all_to_all_timeout_ns, int64_t, 64);

SAME_SIZE(a8a_view, 40);
SAME_FIELD(a8a_view, outer_size, int64_t, 0);
SAME_FIELD(a8a_view, inner_size, int64_t, 8);
SAME_FIELD(a8a_view, outer_stride_bytes, int64_t, 16);
SAME_FIELD(a8a_view, inner_stride_bytes, int64_t, 24);
SAME_FIELD(a8a_view, row_bytes, int64_t, 32);

SAME_SIZE(a8a_splits, 40);
SAME_FIELD(a8a_splits, input, const void*, 0);
SAME_FIELD(a8a_splits, output, const void*, 8);
SAME_FIELD(a8a_splits, input_offsets, const void*, 16);
SAME_FIELD(a8a_splits, output_offsets, const void*, 24);
SAME_FIELD(a8a_splits, index_bytes, int32_t, 32);

SAME_SIZE(a8a_all_to_all_params, 168);
SAME_FIELD(a8a_all_to_all_params, struct_size, size_t, 0);
SAME_FIELD(a8a_all_to_all_params, input, const void*, 8);
SAME_FIELD(a8a_all_to_all_params, input_view, a8a_view, 16);
SAME_FIELD(a8a_all_to_all_params, window, const a8a_window*, 56);
SAME_FIELD(a8a_all_to_all_params, output_offset_bytes, int64_t, 64);
SAME_FIELD(a8a_all_to_all_params, output_view, a8a_view, 72);
SAME_FIELD(a8a_all_to_all_params, splits, a8a_splits, 112);
SAME_FIELD(a8a_all_to_all_params, channel, int32_t, 152);
SAME_FIELD(a8a_all_to_all_params, stream, a8a_stream, 160);

/* A function of another type is an error: the test compiles with -Werror. */
struct functions {
  const char* (*version)(void);
  const char* (*last_error)(void);
  const char* (*status_name)(int32_t);
  int32_t (*connect)(const a8a_connect_options*, a8a_client**);
  void (*disconnect)(a8a_client*);
  int32_t (*client_status)(const a8a_client*);
  uint64_t (*client_session_id)(const a8a_client*);
  int32_t (*client_draining)(const a8a_client*);
  int32_t (*client_device_count)(const a8a_client*);
  const char* (*client_device_name)(const a8a_client*, int32_t);
  int32_t (*buffer_register)(a8a_client*, int64_t, const char*, const char*, int64_t, a8a_buffer**);
  void (*buffer_release)(a8a_buffer*);
  void* (*buffer_data)(const a8a_buffer*);
  int64_t (*buffer_size_bytes)(const a8a_buffer*);
  uint64_t (*buffer_id)(const a8a_buffer*);
  int32_t (*buffer_status)(const a8a_buffer*);
  int32_t (*join)(a8a_client*, const a8a_join_options*, a8a_group**);
  void (*leave)(a8a_group*);
  int32_t (*group_rank)(const a8a_group*);
  int32_t (*group_world_size)(const a8a_group*);
  int32_t (*group_channel_count)(const a8a_group*);
  uint64_t (*group_id)(const a8a_group*);
  int64_t (*group_overhead_bytes)(const a8a_group*);
  int32_t (*register_window)(a8a_group*, const char*, int64_t, int64_t, a8a_window**);
  int32_t (*register_window_on)(a8a_group*, const char*, void*, int64_t, int64_t, a8a_window**);
  void (*window_release)(a8a_window*);
  void* (*window_data)(const a8a_window*);
  int64_t (*window_size_bytes)(const a8a_window*);
  int32_t (*window_index)(const a8a_window*);
  const char* (*window_name)(const a8a_window*);
  int32_t (*all_to_all)(a8a_group*, const a8a_all_to_all_params*);
  int32_t (*plan_create)(a8a_plan**);
  void (*plan_destroy)(a8a_plan*);
  int32_t (*prepare)(a8a_group*, a8a_plan*, const a8a_all_to_all_params*);
  int32_t (*all_to_all_prepared)(a8a_group*, const a8a_plan*, const void*, a8a_stream);
  int32_t (*check_status)(a8a_group*, int32_t);
  int32_t (*abort)(a8a_group*, const char*, int64_t);
};
extern const struct functions kFunctions;
const struct functions kFunctions = {
    .version = a8a_version,
    .last_error = a8a_last_error,
    .status_name = a8a_status_name,
    .connect = a8a_connect,
    .disconnect = a8a_disconnect,
    .client_status = a8a_client_status,
    .client_session_id = a8a_client_session_id,
    .client_draining = a8a_client_draining,
    .client_device_count = a8a_client_device_count,
    .client_device_name = a8a_client_device_name,
    .buffer_register = a8a_buffer_register,
    .buffer_release = a8a_buffer_release,
    .buffer_data = a8a_buffer_data,
    .buffer_size_bytes = a8a_buffer_size_bytes,
    .buffer_id = a8a_buffer_id,
    .buffer_status = a8a_buffer_status,
    .join = a8a_join,
    .leave = a8a_leave,
    .group_rank = a8a_group_rank,
    .group_world_size = a8a_group_world_size,
    .group_channel_count = a8a_group_channel_count,
    .group_id = a8a_group_id,
    .group_overhead_bytes = a8a_group_overhead_bytes,
    .register_window = a8a_register_window,
    .register_window_on = a8a_register_window_on,
    .window_release = a8a_window_release,
    .window_data = a8a_window_data,
    .window_size_bytes = a8a_window_size_bytes,
    .window_index = a8a_window_index,
    .window_name = a8a_window_name,
    .all_to_all = a8a_all_to_all,
    .plan_create = a8a_plan_create,
    .plan_destroy = a8a_plan_destroy,
    .prepare = a8a_prepare,
    .all_to_all_prepared = a8a_all_to_all_prepared,
    .check_status = a8a_check_status,
    .abort = a8a_abort,
};
