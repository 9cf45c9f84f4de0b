/* The C interface of a8a: what other languages bind to. It mirrors client.h and group.h, which say what the calls do
 * and which errors they have; this header says what is different in C.
 *
 *   a8a_client* client = NULL;
 *   if (a8a_connect(NULL, &client) != A8A_OK) fail(a8a_last_error());
 *   a8a_join_options join = {.struct_size = sizeof(join), .name = "tp", .rank = rank, .world_size = 8};
 *   a8a_group* group = NULL;
 *   if (a8a_join(client, &join, &group) != A8A_OK) fail(a8a_last_error());
 *
 * Status: functions that can fail return an int32_t, 0 (A8A_OK) or a canonical code, equal to absl::StatusCode and to
 * gRPC's. a8a_last_error() then gives the text of the calling thread's last failure. Outputs are written on success
 * only, except that handles are set to NULL on failure. No exception leaves a function.
 *
 * Ownership: every handle belongs to the caller and is given back once, by the function named at its type; those
 * functions take NULL. A client outlives its groups and buffers, a group its windows and plans.
 *
 * Thread safety: as of the C++ classes: any function from any thread, but not while another gives the handle back, and
 * all-to-alls on one channel one after the other.
 *
 * Options and structs: zero means the default wherever a default is named. struct_size is sizeof the struct as the
 * caller knows it; another one is INVALID_ARGUMENT, so that caller and library cannot misread each other. Strings are
 * NUL-terminated and copied. */
#ifndef A8A_A8A_H_
#define A8A_A8A_H_

#include <stddef.h>
#include <stdint.h>

#include "a8a/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Canonical codes. */
enum {
  A8A_OK = 0,
  A8A_CANCELLED = 1,
  A8A_UNKNOWN = 2,
  A8A_INVALID_ARGUMENT = 3,
  A8A_DEADLINE_EXCEEDED = 4,
  A8A_NOT_FOUND = 5,
  A8A_ALREADY_EXISTS = 6,
  A8A_PERMISSION_DENIED = 7,
  A8A_RESOURCE_EXHAUSTED = 8,
  A8A_FAILED_PRECONDITION = 9,
  A8A_ABORTED = 10,
  A8A_OUT_OF_RANGE = 11,
  A8A_UNIMPLEMENTED = 12,
  A8A_INTERNAL = 13,
  A8A_UNAVAILABLE = 14
};

typedef struct a8a_client a8a_client; /* given back by a8a_disconnect */
typedef struct a8a_buffer a8a_buffer; /* given back by a8a_buffer_release */
typedef struct a8a_group a8a_group;   /* given back by a8a_leave */
typedef struct a8a_window a8a_window; /* given back by a8a_window_release */
typedef struct a8a_plan a8a_plan;     /* given back by a8a_plan_destroy */

/* A cudaStream_t on a GPU; NULL on the host device. */
typedef void* a8a_stream;

typedef struct a8a_connect_options {
  size_t struct_size;
  const char* runtime_dir; /* NULL: "/run/a8a" */
  const char* client_name; /* NULL: "" */
  int64_t timeout_ns;      /* 0: 10 s */
} a8a_connect_options;

typedef struct a8a_join_options {
  size_t struct_size;
  const char* name;
  int32_t rank;
  int32_t world_size;
  const char* device;    /* NULL: "host" */
  int32_t channel_count; /* 0: 8 */
  const char* secret;    /* secret_size bytes; NULL: none */
  size_t secret_size;
  int64_t timeout_ns;            /* of the join; 0: 60 s */
  int64_t all_to_all_timeout_ns; /* of each all-to-all and prepare; 0: 30 s */
} a8a_join_options;

/* As a8a::View: [outer, inner, row] in bytes. */
typedef struct a8a_view {
  int64_t outer_size;
  int64_t inner_size;
  int64_t outer_stride_bytes;
  int64_t inner_stride_bytes;
  int64_t row_bytes;
} a8a_view;

/* As a8a::Splits: arrays of world_size integers of index_bytes each. */
typedef struct a8a_splits {
  const void* input;
  const void* output;
  const void* input_offsets;  /* NULL: prefix sum of input */
  const void* output_offsets; /* NULL: prefix sum of output */
  int32_t index_bytes;        /* 4 or 8 */
} a8a_splits;

/* One all-to-all: rows from the view at `input` to the view `output_offset_bytes` into this rank's part of `window`. */
typedef struct a8a_all_to_all_params {
  size_t struct_size;
  const void* input;
  a8a_view input_view;
  const a8a_window* window;
  int64_t output_offset_bytes;
  a8a_view output_view;
  a8a_splits splits;
  int32_t channel;
  a8a_stream stream;
} a8a_all_to_all_params;

/* "0.1.0"; static. */
A8A_EXPORT const char* a8a_version(void);
/* The text of this thread's last failed call, "" before the first; valid until this thread's next failed call. */
A8A_EXPORT const char* a8a_last_error(void);
/* "OK", "INVALID_ARGUMENT", ...; "" for a number that is no code; static. */
A8A_EXPORT const char* a8a_status_name(int32_t code);

/* a8a::Client::Connect. options may be NULL: all defaults. */
A8A_EXPORT int32_t a8a_connect(const a8a_connect_options* options, a8a_client** client);
/* Says goodbye and leaves no thread and no descriptor behind. */
A8A_EXPORT void a8a_disconnect(a8a_client* client);
/* a8a::Client::status. */
A8A_EXPORT int32_t a8a_client_status(const a8a_client* client);
/* 0 for NULL. */
A8A_EXPORT uint64_t a8a_client_session_id(const a8a_client* client);
/* 1 while the daemon drains, else 0. */
A8A_EXPORT int32_t a8a_client_draining(const a8a_client* client);
/* How many devices the daemon has; 0 for NULL. */
A8A_EXPORT int32_t a8a_client_device_count(const a8a_client* client);
/* The name of one of them; NULL if index is out of range. Valid as long as the client. */
A8A_EXPORT const char* a8a_client_device_name(const a8a_client* client, int32_t index);

/* a8a::Client::RegisterBuffer. device NULL: "host"; name NULL: ""; timeout_ns 0: 10 s. */
A8A_EXPORT int32_t a8a_buffer_register(a8a_client* client, int64_t size_bytes, const char* device, const char* name,
                                       int64_t timeout_ns, a8a_buffer** buffer);
A8A_EXPORT void a8a_buffer_release(a8a_buffer* buffer);
/* NULL for NULL. */
A8A_EXPORT void* a8a_buffer_data(const a8a_buffer* buffer);
A8A_EXPORT int64_t a8a_buffer_size_bytes(const a8a_buffer* buffer);
A8A_EXPORT uint64_t a8a_buffer_id(const a8a_buffer* buffer);
/* a8a::Buffer::status. */
A8A_EXPORT int32_t a8a_buffer_status(const a8a_buffer* buffer);

/* a8a::Client::Join. */
A8A_EXPORT int32_t a8a_join(a8a_client* client, const a8a_join_options* options, a8a_group** group);
A8A_EXPORT void a8a_leave(a8a_group* group);
/* -1, 0, 0, 0 and 0 for NULL. */
A8A_EXPORT int32_t a8a_group_rank(const a8a_group* group);
A8A_EXPORT int32_t a8a_group_world_size(const a8a_group* group);
A8A_EXPORT int32_t a8a_group_channel_count(const a8a_group* group);
A8A_EXPORT uint64_t a8a_group_id(const a8a_group* group);
A8A_EXPORT int64_t a8a_group_overhead_bytes(const a8a_group* group);

/* a8a::Group::RegisterWindow. timeout_ns 0: 60 s. */
A8A_EXPORT int32_t a8a_register_window(a8a_group* group, const char* name, int64_t size_bytes, int64_t timeout_ns,
                                       a8a_window** window);
/* a8a::Group::RegisterWindowOn. timeout_ns 0: 60 s. */
A8A_EXPORT int32_t a8a_register_window_on(a8a_group* group, const char* name, void* data, int64_t size_bytes,
                                          int64_t timeout_ns, a8a_window** window);
A8A_EXPORT void a8a_window_release(a8a_window* window);
/* This rank's part; NULL for NULL. */
A8A_EXPORT void* a8a_window_data(const a8a_window* window);
A8A_EXPORT int64_t a8a_window_size_bytes(const a8a_window* window);
/* -1 for NULL. */
A8A_EXPORT int32_t a8a_window_index(const a8a_window* window);
/* Valid as long as the window; NULL for NULL. */
A8A_EXPORT const char* a8a_window_name(const a8a_window* window);

/* One-shot: a8a::Group::AllToAll. */
A8A_EXPORT int32_t a8a_all_to_all(a8a_group* group, const a8a_all_to_all_params* params);
/* An empty plan, to be filled by a8a_prepare as often as wanted. */
A8A_EXPORT int32_t a8a_plan_create(a8a_plan** plan);
A8A_EXPORT void a8a_plan_destroy(a8a_plan* plan);
/* a8a::Group::Prepare; params->input is not read. */
A8A_EXPORT int32_t a8a_prepare(a8a_group* group, a8a_plan* plan, const a8a_all_to_all_params* params);
/* a8a::Group::AllToAll with a plan. */
A8A_EXPORT int32_t a8a_all_to_all_prepared(a8a_group* group, const a8a_plan* plan, const void* input,
                                           a8a_stream stream);
/* a8a::Group::CheckStatus. */
A8A_EXPORT int32_t a8a_check_status(a8a_group* group, int32_t channel);
/* a8a::Group::Abort. message NULL: ""; timeout_ns 0: 10 s. */
A8A_EXPORT int32_t a8a_abort(a8a_group* group, const char* message, int64_t timeout_ns);

#ifdef __cplusplus
}
#endif

#endif /* A8A_A8A_H_ */
