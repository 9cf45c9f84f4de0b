/* The README's example in C: one rank of two, one process each. One-shot first, then by a plan.
 *
 *   c_example 0 /run/a8a & c_example 1 /run/a8a
 *
 * C11 and the shared library; `cc c_example.c $(pkg-config --cflags --libs a8a)` compiles it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "a8a/a8a.h"

#define ROW_BYTES 4096
#define WINDOW_BYTES (1 << 20)
#define STEPS 10

static int Fail(int rank, const char* call, int32_t code) {
  fprintf(stderr, "rank %d: %s: %s: %s\n", rank, call, a8a_status_name(code), a8a_last_error());
  return EXIT_FAILURE;
}

/* Whether `rows` rows from `row` on hold nothing but `value`. */
static int RowsHold(const a8a_window* window, int64_t row, int64_t rows, char value) {
  const char* data = a8a_window_data(window);
  for (int64_t i = row * ROW_BYTES; i < (row + rows) * ROW_BYTES; ++i) {
    if (data[i] != value) return 0;
  }
  return 1;
}

static int RunGroup(a8a_group* group, a8a_window* window, a8a_plan* plan) {
  const int rank = a8a_group_rank(group);
  static char rows[3 * ROW_BYTES];
  const int32_t send[] = {1, 2};                      /* one row to rank 0, two to rank 1 */
  const int32_t receive[] = {send[rank], send[rank]}; /* as many from each rank */
  const a8a_all_to_all_params params = {
      .struct_size = sizeof(params),
      .input = rows,
      .input_view = {.outer_size = 1, .inner_size = 3, .inner_stride_bytes = ROW_BYTES, .row_bytes = ROW_BYTES},
      .window = window,
      .output_view = {.outer_size = 1, .inner_size = 4, .inner_stride_bytes = ROW_BYTES, .row_bytes = ROW_BYTES},
      .splits = {.input = send, .output = receive, .index_bytes = sizeof(send[0])}};
  memset(rows, rank == 0 ? 'a' : 'b', sizeof(rows));
  int32_t code = a8a_all_to_all(group, &params);
  if (code != A8A_OK) return Fail(rank, "a8a_all_to_all", code);
  int right = RowsHold(window, 0, receive[0], 'a') && RowsHold(window, receive[0], receive[1], 'b');

  /* Splits once, rows many times. What was read in one step may be overwritten in the next: all ranks have read before
   * they start it, as this one has. */
  code = a8a_prepare(group, plan, &params);
  if (code != A8A_OK) return Fail(rank, "a8a_prepare", code);
  for (int step = 0; step < STEPS; ++step) {
    memset(rows, (rank == 0 ? 'A' : 'N') + step, sizeof(rows));
    code = a8a_all_to_all_prepared(group, plan, rows, NULL);
    if (code != A8A_OK) return Fail(rank, "a8a_all_to_all_prepared", code);
    right = right && RowsHold(window, 0, receive[0], (char)('A' + step)) &&
            RowsHold(window, receive[0], receive[1], (char)('N' + step));
  }
  code = a8a_check_status(group, params.channel);
  if (code != A8A_OK) return Fail(rank, "a8a_check_status", code);
  printf("rank %d: %" PRId32 " rows from rank 0 and %" PRId32 " from rank 1, %s\n", rank, receive[0], receive[1],
         right ? "all as sent" : "NOT as sent");
  return right ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int RunRank(int rank, const char* runtime_dir) {
  a8a_client* client = NULL;
  a8a_group* group = NULL;
  a8a_window* window = NULL;
  a8a_plan* plan = NULL;
  const a8a_connect_options connect = {.struct_size = sizeof(connect), .runtime_dir = runtime_dir};
  const a8a_join_options join = {.struct_size = sizeof(join), .name = "pair-in-c", .rank = rank, .world_size = 2};
  int status = EXIT_FAILURE;
  int32_t code = a8a_connect(&connect, &client);
  if (code != A8A_OK) {
    Fail(rank, "a8a_connect", code);
  } else if ((code = a8a_join(client, &join, &group)) != A8A_OK) {
    Fail(rank, "a8a_join", code);
  } else if ((code = a8a_register_window(group, "out", WINDOW_BYTES, 0, &window)) != A8A_OK) {
    Fail(rank, "a8a_register_window", code);
  } else if ((code = a8a_plan_create(&plan)) != A8A_OK) {
    Fail(rank, "a8a_plan_create", code);
  } else {
    status = RunGroup(group, window, plan);
  }
  /* NULL is nothing to give back. */
  a8a_plan_destroy(plan);
  a8a_window_release(window);
  a8a_leave(group);
  a8a_disconnect(client);
  return status;
}

int main(int argc, char** argv) {
  if (argc != 3 || (strcmp(argv[1], "0") != 0 && strcmp(argv[1], "1") != 0)) {
    fprintf(stderr, "usage: c_example RANK RUNTIME_DIR    (RANK is 0 or 1; start both)\n");
    return 2;
  }
  return RunRank(argv[1][0] - '0', argv[2]);
}
