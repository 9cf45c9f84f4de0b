// The example of the project's README: one rank of two, one process each.
//
//   readme_example 0 /run/a8a & readme_example 1 /run/a8a
//
// The lines between the two README marks are those that README.md shows, word for word; a test compares them.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "a8a/client.h"

namespace {

constexpr std::int64_t kRowBytes = 4096;
constexpr std::int64_t kWindowBytes = 1 << 20;

// Whether `rows` rows from `row` on hold nothing but `value`.
bool RowsHold(const a8a::Window& window, std::int64_t row, std::int64_t rows, char value) {
  for (std::int64_t i = row * kRowBytes; i < (row + rows) * kRowBytes; ++i) {
    if (static_cast<char>(window.data()[i]) != value) return false;
  }
  return true;
}

int RunRank(int rank, const std::string& runtime_dir) {
  // README: begin
  auto client = a8a::Client::Connect({.runtime_dir = runtime_dir}).value();
  auto group = client->Join({.name = "pair", .rank = rank, .world_size = 2}).value();
  auto window = group->RegisterWindow("out", kWindowBytes).value();  // mapped by both ranks

  std::vector<char> rows(3 * kRowBytes, rank == 0 ? 'a' : 'b');
  const std::int32_t send[] = {1, 2};                       // one row to rank 0, two to rank 1
  const std::int32_t receive[] = {send[rank], send[rank]};  // as many from each rank
  absl::Status status = group->AllToAll({.data = rows.data(), .view = a8a::View::Contiguous(3, kRowBytes)},
                                        {.window = window.get(), .view = a8a::View::Contiguous(4, kRowBytes)},
                                        a8a::Splits::Int32(send, receive), a8a::Channel{0});
  // README: end
  if (!status.ok()) {
    std::fprintf(stderr, "rank %d: %s\n", rank, status.ToString().c_str());
    return EXIT_FAILURE;
  }
  const bool right = RowsHold(*window, 0, receive[0], 'a') && RowsHold(*window, receive[0], receive[1], 'b');
  std::printf("rank %d: %d rows from rank 0 and %d from rank 1, %s\n", rank, receive[0], receive[1],
              right ? "all as sent" : "NOT as sent");
  return right ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: readme_example RANK RUNTIME_DIR    (RANK is 0 or 1; start both)\n");
    return 2;
  }
  return RunRank(std::atoi(argv[1]), argv[2]);
}
