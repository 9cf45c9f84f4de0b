// A group of one: joins, registers a window, sends itself two rows, and checks them.
#include <cstdint>
#include <cstring>
#include <iostream>
#include <string>

#include "a8a/client.h"

namespace {

absl::Status Run(const std::string& runtime_dir) {
  auto client = a8a::Client::Connect({.runtime_dir = runtime_dir, .client_name = "consumer"});
  if (!client.ok()) return client.status();
  auto group = (*client)->Join({.name = "consumer", .rank = 0, .world_size = 1});
  if (!group.ok()) return group.status();
  auto window = (*group)->RegisterWindow("out", 4096);
  if (!window.ok()) return window.status();

  const std::string rows = "first second";  // two rows of six bytes
  const std::int64_t split[] = {2};
  const absl::Status status = (*group)->AllToAll({.data = rows.data(), .view = a8a::View::Contiguous(2, 6)},
                                                 {.window = window->get(), .view = a8a::View::Contiguous(2, 6)},
                                                 a8a::Splits::Int64(split, split), a8a::Channel{0});
  if (!status.ok()) return status;
  return std::memcmp((*window)->data(), rows.data(), 12) == 0 ? absl::OkStatus()
                                                              : absl::DataLossError("the rows are not what was sent");
}

}  // namespace

int main(int argc, char** argv) {
  const absl::Status status = Run(argc > 1 ? argv[1] : "/run/a8a");
  if (!status.ok()) std::cerr << status << '\n';
  return status.ok() ? 0 : 1;
}
