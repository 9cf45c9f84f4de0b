/* The C interface of a8a: what C and other languages bind to.
 *
 *   a8a_client* client = NULL;
 *   if (a8a_connect(NULL, &client) != A8A_OK) fail(a8a_last_error());
 *   a8a_join_options join = {.struct_size = sizeof(join), .name = "tp", .rank = rank, .world_size = 8};
 *   a8a_group* group = NULL;
 *   if (a8a_join(client, &join, &group) != A8A_OK) fail(a8a_last_error());
 *
 * Status: functions that can fail return an int32_t, 0 (A8A_OK) or a canonical code, equal to absl::StatusCode and to
 * gRPC's. a8a_last_error() then gives the text of the calling thread's last failure. Outputs are written on success
 * only, except that handles are set to NULL on failure. No exception leaves a function. Errors that are not said again
 * at each function: A8A_INVALID_ARGUMENT for a NULL where there must be none, a negative timeout or a wrong
 * struct_size; A8A_RESOURCE_EXHAUSTED when this process has no memory left; and of all that ask the daemon
 * A8A_UNAVAILABLE (it does not run, drains, or went away), A8A_DEADLINE_EXCEEDED (timeout_ns has passed) and
 * A8A_NOT_FOUND (it has ended the session).
 *
 * Ownership: every handle belongs to the caller and is given back once, by the function named at its type; those
 * functions take NULL. A client outlives its groups and buffers, a group its windows and plans.
 *
 * Thread safety: any function from any thread, but not while another gives the handle back, and all-to-alls on one
 * channel one after the other. A child that is forked must not use the handles of its parent.
 *
 * Options and structs: zero means the default wherever a default is named. struct_size is sizeof the struct as the
 * caller knows it; another one is A8A_INVALID_ARGUMENT, so that caller and library cannot misread each other. Strings
 * are NUL-terminated and copied; times are nanoseconds, sizes bytes, splits and offsets rows. */
#ifndef A8A_A8A_H_
#define A8A_A8A_H_

#include <stddef.h>
#include <stdint.h>

#include "a8a/export.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A status. */
enum {
  A8A_OK = 0,                  /* It worked. */
  A8A_CANCELLED = 1,           /* Not used by this version. */
  A8A_UNKNOWN = 2,             /* Of something that has no code. */
  A8A_INVALID_ARGUMENT = 3,    /* Wrong in any state: a bug of the caller. */
  A8A_DEADLINE_EXCEEDED = 4,   /* The time is over; the text names who did not come. */
  A8A_NOT_FOUND = 5,           /* What is named does not exist, or no longer. */
  A8A_ALREADY_EXISTS = 6,      /* The name or rank is taken. */
  A8A_PERMISSION_DENIED = 7,   /* This user may not. */
  A8A_RESOURCE_EXHAUSTED = 8,  /* Memory or a limit is used up; the text says which and what is left. */
  A8A_FAILED_PRECONDITION = 9, /* Right in itself, but not in this state. */
  A8A_ABORTED = 10,            /* The group or session has ended. */
  A8A_OUT_OF_RANGE = 11,       /* Rows beyond the output view or window. */
  A8A_UNIMPLEMENTED = 12,      /* Not in this build or on this device. */
  A8A_INTERNAL = 13,           /* A bug of a8a. */
  A8A_UNAVAILABLE = 14         /* The daemon cannot be reached, or drains: try again. */
};

/* This process's session with the daemon; given back by a8a_disconnect. */
typedef struct a8a_client a8a_client;
/* Memory leased from the daemon; given back by a8a_buffer_release. */
typedef struct a8a_buffer a8a_buffer;
/* This process's rank in a group; given back by a8a_leave. */
typedef struct a8a_group a8a_group;
/* One buffer per rank, mapped by all ranks; given back by a8a_window_release. */
typedef struct a8a_window a8a_window;
/* Splits that were exchanged once for many all-to-alls; given back by a8a_plan_destroy. */
typedef struct a8a_plan a8a_plan;

/* A cudaStream_t on a GPU; NULL on the host device. */
typedef void* a8a_stream;

/* How to reach the daemon. */
typedef struct a8a_connect_options {
  size_t struct_size;      /* sizeof(a8a_connect_options) */
  const char* runtime_dir; /* Where the daemon's sockets are; NULL: "/run/a8a". */
  const char* client_name; /* The session's name in lists and logs: printable, at most 64 bytes; NULL: "". */
  int64_t timeout_ns;      /* For connecting; 0: 10 s. */
} a8a_connect_options;

/* Which group, and as which rank. */
typedef struct a8a_join_options {
  size_t struct_size;            /* sizeof(a8a_join_options) */
  const char* name;              /* Of the group: printable, 1 to 64 bytes. Groups are named within a uid. */
  int32_t rank;                  /* In [0, world_size). */
  int32_t world_size;            /* In [1, 64]; equal on all ranks. */
  const char* device;            /* Where windows lie: "host", or "cuda:N" for cudaSetDevice(N); NULL: "host". */
  int32_t channel_count;         /* In [1, 64], equal on all ranks; 0: 8. */
  const char* secret;            /* Any bytes, equal on all ranks; NULL: none. */
  size_t secret_size;            /* Bytes of the secret, at most 64. */
  int64_t timeout_ns;            /* For joining, which waits for all ranks; 0: 60 s. */
  int64_t all_to_all_timeout_ns; /* For each all-to-all and each prepare; 0: 30 s. */
} a8a_join_options;

/* The layout of a 3-D array [outer, inner, row]. Its rows are numbered q in [0, outer_size * inner_size); row q lies at
 * (q / inner_size) * outer_stride_bytes + (q % inner_size) * inner_stride_bytes from the start of the view. */
typedef struct a8a_view {
  int64_t outer_size;         /* Rows in the outer dimension. */
  int64_t inner_size;         /* Rows in the inner dimension. */
  int64_t outer_stride_bytes; /* From one index of the outer dimension to the next. */
  int64_t inner_stride_bytes; /* From one index of the inner dimension to the next. */
  int64_t row_bytes;          /* Of each row, which is contiguous. Equal on all ranks and in both views. */
} a8a_view;

/* Arrays of world_size integers each, read when the all-to-all executes, in memory that the executing device reads.
 * They belong to the caller and stay unchanged until it has ended. All count rows. */
typedef struct a8a_splits {
  const void* input;          /* input[p] rows go to rank p. */
  const void* output;         /* output[p] rows come from rank p; equals what p sends. */
  const void* input_offsets;  /* q of the first row for rank p; NULL: prefix sum of input. */
  const void* output_offsets; /* q of the first row from rank p; NULL: prefix sum of output. */
  int32_t index_bytes;        /* Of each integer: 4 (int32_t) or 8 (int64_t). */
} a8a_splits;

/* One all-to-all: rows from the view at `input` to the view `output_offset_bytes` into this rank's part of `window`. */
typedef struct a8a_all_to_all_params {
  size_t struct_size;          /* sizeof(a8a_all_to_all_params) */
  const void* input;           /* The caller's, unchanged until the all-to-all has ended; any memory of the device. */
  a8a_view input_view;         /* What lies at input. */
  const a8a_window* window;    /* Of the same group. */
  int64_t output_offset_bytes; /* From a8a_window_data; the view lies within the window. */
  a8a_view output_view;        /* Where rows arrive. */
  a8a_splits splits;           /* Which rows go where. */
  int32_t channel;             /* In [0, channel_count); the same on all ranks for the same all-to-all. */
  a8a_stream stream;           /* That the kernel is launched on; NULL on the host. */
} a8a_all_to_all_params;

/* The version of the library, like "0.1.0". Static; never NULL. */
A8A_EXPORT const char* a8a_version(void);
/* The text of this thread's last failed call, "" before the first: one line that names the object, the actual and the
 * allowed value. The library's; valid until this thread's next failed call. */
A8A_EXPORT const char* a8a_last_error(void);
/* "OK", "INVALID_ARGUMENT", ...; "" for a number that is no code. Static. */
A8A_EXPORT const char* a8a_status_name(int32_t code);

/* Attaches this process to the daemon. options may be NULL: all defaults. Blocks up to the options' timeout_ns.
 *
 * Errors: A8A_INVALID_ARGUMENT (client_name), A8A_UNAVAILABLE (no daemon at runtime_dir; the text says which path),
 * A8A_PERMISSION_DENIED (the socket may not be opened), A8A_FAILED_PRECONDITION (the daemon speaks another protocol
 * version), A8A_RESOURCE_EXHAUSTED (its limit of sessions).
 * Ownership: *client is the caller's, for a8a_disconnect. */
A8A_EXPORT int32_t a8a_connect(const a8a_connect_options* options, a8a_client** client);
/* Says goodbye, which frees all that the session still holds, and leaves no thread and no descriptor behind. Groups and
 * buffers of the client have been given back before. */
A8A_EXPORT void a8a_disconnect(a8a_client* client);
/* A8A_OK while the session lives; A8A_ABORTED: the daemon has ended it; A8A_UNAVAILABLE: the daemon cannot be reached,
 * groups go on, and the client attaches again in the background. Never blocks. */
A8A_EXPORT int32_t a8a_client_status(const a8a_client* client);
/* The session's number in lists and logs; 0 for NULL. */
A8A_EXPORT uint64_t a8a_client_session_id(const a8a_client* client);
/* 1 while the daemon drains: it takes no new groups, and asks for running ones to finish. Else, and for NULL, 0. */
A8A_EXPORT int32_t a8a_client_draining(const a8a_client* client);
/* How many devices the daemon has; 0 for NULL. */
A8A_EXPORT int32_t a8a_client_device_count(const a8a_client* client);
/* The name of one of them, index in [0, a8a_client_device_count); NULL if it is out of range. The client's, and valid
 * as long as it. */
A8A_EXPORT const char* a8a_client_device_name(const a8a_client* client, int32_t index);

/* Leases memory from the daemon's pool and maps it into this process; zero when first seen. size_bytes is at least 1,
 * and rounded up to the device's granularity; device NULL: "host"; name NULL: "". Blocks up to timeout_ns; 0: 10 s.
 *
 * Errors: A8A_INVALID_ARGUMENT (size or name), A8A_NOT_FOUND (no such device), A8A_RESOURCE_EXHAUSTED (the pool or a
 * limit; the text says what is left).
 * Ownership: *buffer is the caller's, for a8a_buffer_release. */
A8A_EXPORT int32_t a8a_buffer_register(a8a_client* client, int64_t size_bytes, const char* device, const char* name,
                                       int64_t timeout_ns, a8a_buffer** buffer);
/* Unmaps the memory and ends the lease. */
A8A_EXPORT void a8a_buffer_release(a8a_buffer* buffer);
/* The first of its a8a_buffer_size_bytes bytes, in memory of its device; NULL for NULL. Valid until it is released. */
A8A_EXPORT void* a8a_buffer_data(const a8a_buffer* buffer);
/* At least what was asked for; 0 for NULL. */
A8A_EXPORT int64_t a8a_buffer_size_bytes(const a8a_buffer* buffer);
/* The lease's number in lists and logs; 0 for NULL. */
A8A_EXPORT uint64_t a8a_buffer_id(const a8a_buffer* buffer);
/* A8A_OK while the lease lives; A8A_ABORTED: the daemon has ended it, and it should be released. Never blocks. */
A8A_EXPORT int32_t a8a_buffer_status(const a8a_buffer* buffer);

/* Joins a group and waits, up to the options' timeout_ns, until all its ranks have joined.
 *
 * Errors: A8A_INVALID_ARGUMENT (an option out of range), A8A_ALREADY_EXISTS (the rank is taken, or the group is
 * complete), A8A_FAILED_PRECONDITION (ranks disagree on world_size, channel_count or kind of device),
 * A8A_PERMISSION_DENIED (another secret),
 * A8A_NOT_FOUND (no such device), A8A_RESOURCE_EXHAUSTED (memory or a limit), A8A_ABORTED (the group ended
 * while this rank waited).
 * Ownership: *group is the caller's, for a8a_leave. */
A8A_EXPORT int32_t a8a_join(a8a_client* client, const a8a_join_options* options, a8a_group** group);
/* Leaves the group. Ranks that still need this one get A8A_ABORTED. Windows have been released before. */
A8A_EXPORT void a8a_leave(a8a_group* group);
/* This process's rank; -1 for NULL. */
A8A_EXPORT int32_t a8a_group_rank(const a8a_group* group);
/* How many ranks the group has; 0 for NULL. */
A8A_EXPORT int32_t a8a_group_world_size(const a8a_group* group);
/* How many channels the group has; 0 for NULL. */
A8A_EXPORT int32_t a8a_group_channel_count(const a8a_group* group);
/* The group's number in lists and logs, the same on all ranks; 0 for NULL. */
A8A_EXPORT uint64_t a8a_group_id(const a8a_group* group);
/* Bytes that a8a itself takes on this rank, windows apart; 0 for NULL. */
A8A_EXPORT int64_t a8a_group_overhead_bytes(const a8a_group* group);

/* Collective: leases size_bytes for this rank's part, waits until every rank has registered a window of this name
 * (printable, 1 to 64 bytes), and maps all parts. Sizes may differ. Blocks up to timeout_ns; 0: 60 s.
 *
 * Errors: A8A_INVALID_ARGUMENT (name or size), A8A_ALREADY_EXISTS (this rank has a window of this name),
 * A8A_RESOURCE_EXHAUSTED (memory or a limit), A8A_ABORTED (the group has ended).
 * Ownership: *window is the caller's, for a8a_window_release. */
A8A_EXPORT int32_t a8a_register_window(a8a_group* group, const char* name, int64_t size_bytes, int64_t timeout_ns,
                                       a8a_window** window);
/* As a8a_register_window, with this rank's part on device memory of the caller's own: size_bytes from data on, within
 * one allocation of cudaMalloc, which must stay until every rank has released the window or left. group.h
 * (a8a::Group::RegisterWindowOn) says what else must hold.
 *
 * Errors: as a8a_register_window, and A8A_INVALID_ARGUMENT (not memory of cudaMalloc on the rank's device),
 * A8A_FAILED_PRECONDITION (allocated in a way that cannot be shared), A8A_PERMISSION_DENIED (the daemon does not allow
 * it), A8A_UNIMPLEMENTED (on the host).
 * Ownership: data stays the caller's; *window is too, for a8a_window_release. */
A8A_EXPORT int32_t a8a_register_window_on(a8a_group* group, const char* name, void* data, int64_t size_bytes,
                                          int64_t timeout_ns, a8a_window** window);
/* Gives up this rank's part and unmaps all parts: no all-to-all into the window may be running here or be started by a
 * peer. */
A8A_EXPORT void a8a_window_release(a8a_window* window);
/* This rank's part, in memory of the rank's device; NULL for NULL. Valid until the window is released. */
A8A_EXPORT void* a8a_window_data(const a8a_window* window);
/* Of this rank's part: at least what was asked for; 0 for NULL. */
A8A_EXPORT int64_t a8a_window_size_bytes(const a8a_window* window);
/* The window's number within the group, in [0, 64), the same on every rank; -1 for NULL. */
A8A_EXPORT int32_t a8a_window_index(const a8a_window* window);
/* The window's, and valid as long as it; NULL for NULL. */
A8A_EXPORT const char* a8a_window_name(const a8a_window* window);

/* One all-to-all whose splits are used once. On the host it has ended when this returns, and the status is that of the
 * all-to-all. On a GPU it is enqueued on params->stream and can be captured in a graph: the status is that of the
 * launch, and a8a_check_status tells what became of it. All ranks start the same ones on a channel in the same order,
 * and an output has been read before the channel's next all-to-all is started.
 *
 * Errors before anything is sent: A8A_INVALID_ARGUMENT (channel, view or pointer; output outside its window; input
 * overlapping the output; views with different row_bytes).
 * Errors of the all-to-all, on both ranks of the pair concerned, after which the next one works: A8A_INVALID_ARGUMENT
 * (negative split or offset, rows beyond the input view, sources that overlap in the output), A8A_OUT_OF_RANGE (rows
 * beyond the output view or window), A8A_FAILED_PRECONDITION (ranks disagree on rows, row_bytes, window or operation),
 * A8A_DEADLINE_EXCEEDED (a rank did not come in time), A8A_ABORTED (the group has ended). */
A8A_EXPORT int32_t a8a_all_to_all(a8a_group* group, const a8a_all_to_all_params* params);
/* An empty plan, to be filled by a8a_prepare as often as wanted. *plan is the caller's, for a8a_plan_destroy. */
A8A_EXPORT int32_t a8a_plan_create(a8a_plan** plan);
/* Launches and graphs that use the plan have ended before. */
A8A_EXPORT void a8a_plan_destroy(a8a_plan* plan);
/* Exchanges and checks the splits for the all-to-alls that follow with plan, and moves nothing; params->input is not
 * read. A step of its channel, like an all-to-all.
 *
 * Errors: as a8a_all_to_all, and A8A_FAILED_PRECONDITION while a stream is captured and no device memory for a plan is
 * left. */
A8A_EXPORT int32_t a8a_prepare(a8a_group* group, a8a_plan* plan, const a8a_all_to_all_params* params);
/* One all-to-all by a plan, with the rows at input, which lie as the plan's input view says, on the plan's channel.
 * Ends as a8a_all_to_all does.
 *
 * Errors: as a8a_all_to_all, and A8A_FAILED_PRECONDITION for a plan that was never prepared or whose window was
 * released. */
A8A_EXPORT int32_t a8a_all_to_all_prepared(a8a_group* group, const a8a_plan* plan, const void* input,
                                           a8a_stream stream);
/* The first error of the channel's all-to-alls since the last call, and takes it off the channel; stays A8A_ABORTED
 * when the group has ended. Never blocks. Errors of its own: A8A_INVALID_ARGUMENT (channel). */
A8A_EXPORT int32_t a8a_check_status(a8a_group* group, int32_t channel);
/* Ends the group for all ranks: their pending and later all-to-alls end with A8A_ABORTED, naming this rank and
 * message: printable, at most 256 bytes; NULL: "". Blocks up to timeout_ns; 0: 10 s.
 *
 * Errors: A8A_INVALID_ARGUMENT (message), A8A_FAILED_PRECONDITION (the group has already ended; the text says why). */
A8A_EXPORT int32_t a8a_abort(a8a_group* group, const char* message, int64_t timeout_ns);

#ifdef __cplusplus
}
#endif

#endif /* A8A_A8A_H_ */
