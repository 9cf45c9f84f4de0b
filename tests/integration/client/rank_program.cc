// rank_program RUNTIME_DIR GROUP RANK WORLD_SIZE: joins, then repeats an all-to-all of one row a pair until one fails,
// and prints its status. Says "ready" before the first. Exit status 0 if the group was aborted, else 1.
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "a8a/client.h"

namespace {

constexpr int kRowBytes = 64;

absl::Status RepeatUntilError(const std::string& runtime_dir, const std::string& name, int rank, int world_size) {
  auto client = a8a::Client::Connect({.runtime_dir = runtime_dir, .client_name = "rank_program"});
  if (!client.ok()) return client.status();
  auto group = (*client)->Join({.name = name, .rank = rank, .world_size = world_size});
  if (!group.ok()) return group.status();
  auto window = (*group)->RegisterWindow("out", world_size * kRowBytes);
  if (!window.ok()) return window.status();
  std::cout << "ready" << std::endl;

  const std::vector<char> rows(static_cast<std::size_t>(world_size * kRowBytes), static_cast<char>(rank));
  const std::vector<std::int32_t> splits(static_cast<std::size_t>(world_size), 1);
  const a8a::View view = a8a::View::Contiguous(world_size, kRowBytes);
  absl::Status status;
  do {
    status = (*group)->AllToAll({rows.data(), view}, {window->get(), 0, view},
                                a8a::Splits::Int32(splits.data(), splits.data()), a8a::Channel{0});
  } while (status.ok());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) {
    std::cerr << "usage: rank_program RUNTIME_DIR GROUP RANK WORLD_SIZE\n";
    return 2;
  }
  const absl::Status status = RepeatUntilError(argv[1], argv[2], std::atoi(argv[3]), std::atoi(argv[4]));
  std::cout << status << std::endl;
  return absl::IsAborted(status) ? 0 : 1;
}
