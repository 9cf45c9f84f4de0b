/* As consumer.cc, through the C interface. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "a8a/a8a.h"

static int Fail(const char* call) {
  fprintf(stderr, "%s: %s\n", call, a8a_last_error());
  return 1;
}

int main(int argc, char** argv) {
  a8a_connect_options connect = {.struct_size = sizeof(connect), .runtime_dir = argc > 1 ? argv[1] : NULL};
  a8a_client* client = NULL;
  if (a8a_connect(&connect, &client) != A8A_OK) return Fail("a8a_connect");
  a8a_join_options join = {.struct_size = sizeof(join), .name = "consumer-c", .rank = 0, .world_size = 1};
  a8a_group* group = NULL;
  if (a8a_join(client, &join, &group) != A8A_OK) return Fail("a8a_join");
  a8a_window* window = NULL;
  if (a8a_register_window(group, "out", 4096, 0, &window) != A8A_OK) return Fail("a8a_register_window");

  const char* rows = "first second";
  const int32_t split[] = {2};
  const a8a_view view = {1, 2, 12, 6, 6};
  a8a_all_to_all_params params = {.struct_size = sizeof(params),
                                  .input = rows,
                                  .input_view = view,
                                  .window = window,
                                  .output_view = view,
                                  .splits = {.input = split, .output = split, .index_bytes = 4}};
  if (a8a_all_to_all(group, &params) != A8A_OK) return Fail("a8a_all_to_all");
  const int right = memcmp(a8a_window_data(window), rows, 12) == 0;

  a8a_window_release(window);
  a8a_leave(group);
  a8a_disconnect(client);
  return right ? 0 : 1;
}
