// mortal_rank RUNTIME_DIR GROUP RANK WORLD_SIZE TIMEOUT_MS: joins, registers windows and repeats all-to-alls, whose
// every byte it checks, until the group ends; then begins again under the same name, for ever. It is meant to be killed
// at any instant.
//
// Prints "running ID" after the first all-to-all of a group, and "ended NS STATUS" when a group has ended for it, at NS
// of the monotonic clock. Exit status 1, after the reason: an error other than the group's end, or a wrong byte.
#include <sys/resource.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "a8a/client.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "kernels/base/status_macros.h"

namespace {

constexpr std::int64_t kRowBytes = 16384;
constexpr int kWindows = 2;

std::int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

char ByteOf(int sender, std::int64_t turn) { return static_cast<char>(sender * 29 + turn * 7); }

class MortalRank {
 public:
  MortalRank(std::string name, int rank, int world_size, absl::Duration timeout)
      : name_(std::move(name)),
        rank_(rank),
        world_size_(world_size),
        timeout_(timeout),
        splits_(static_cast<std::size_t>(world_size), 1),
        view_(a8a::View::Contiguous(world_size, kRowBytes)) {}

  // One group, from joining to its end; never OK.
  absl::Status Live(a8a::Client* client) const {
    A8A_ASSIGN_OR_RETURN(const auto group, client->Join({.name = name_,
                                                         .rank = rank_,
                                                         .world_size = world_size_,
                                                         .channel_count = 1,
                                                         .all_to_all_timeout = timeout_}));
    std::unique_ptr<a8a::Window> windows[kWindows];
    a8a::Plan plans[kWindows];
    std::vector<char> rows(static_cast<std::size_t>(world_size_ * kRowBytes));
    for (int w = 0; w < kWindows; ++w) {
      A8A_ASSIGN_OR_RETURN(windows[w], group->RegisterWindow(absl::StrCat("w", w), world_size_ * kRowBytes));
      A8A_RETURN_IF_ERROR(
          group->Prepare(&plans[w], {rows.data(), view_}, {windows[w].get(), 0, view_}, Splits(), a8a::Channel{0}));
    }
    bool told = false;
    for (std::int64_t turn = 0;; ++turn) {
      const auto w = static_cast<std::size_t>(turn % kWindows);
      rows.assign(rows.size(), ByteOf(rank_, turn));
      const absl::Status status =
          turn % 4 < 2 ? group->AllToAll(plans[w], rows.data())
                       : group->AllToAll({rows.data(), view_}, {windows[w].get(), 0, view_}, Splits(), a8a::Channel{0});
      if (absl::IsDeadlineExceeded(status)) {
        std::cout << "late " << status << std::endl;
        told = false;
        continue;
      }
      A8A_RETURN_IF_ERROR(status);
      A8A_RETURN_IF_ERROR(Check(*windows[w], turn));
      if (!std::exchange(told, true)) std::cout << "running " << group->id() << std::endl;
    }
  }

 private:
  [[nodiscard]] a8a::Splits Splits() const { return a8a::Splits::Int32(splits_.data(), splits_.data()); }

  [[nodiscard]] absl::Status Check(const a8a::Window& window, std::int64_t turn) const {
    for (std::int64_t i = 0; i < world_size_ * kRowBytes; ++i) {
      const auto sender = static_cast<int>(i / kRowBytes);
      if (static_cast<char>(window.data()[i]) == ByteOf(sender, turn)) continue;
      return absl::DataLossError(
          absl::StrCat("turn ", turn, ": byte ", i % kRowBytes, " of rank ", sender, " is wrong"));
    }
    return absl::OkStatus();
  }

  const std::string name_;
  const int rank_;
  const int world_size_;
  const absl::Duration timeout_;
  const std::vector<std::int32_t> splits_;
  const a8a::View view_;
};

int Run(const std::string& runtime_dir, const MortalRank& rank) {
  auto client = a8a::Client::Connect({.runtime_dir = runtime_dir, .client_name = "mortal_rank"});
  if (!client.ok()) {
    std::cout << client.status() << std::endl;
    return EXIT_FAILURE;
  }
  while (true) {
    const absl::Status status = rank.Live(client->get());
    const std::int64_t now_ns = NowNs();
    if (absl::IsAlreadyExists(status)) {
      // The rank of a process whose end the daemon has not seen yet.
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    std::cout << "ended " << now_ns << " " << status << std::endl;
    if (!absl::IsAborted(status)) return EXIT_FAILURE;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 6) {
    std::cerr << "usage: mortal_rank RUNTIME_DIR GROUP RANK WORLD_SIZE TIMEOUT_MS\n";
    return 2;
  }
  const rlimit no_core = {0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  return Run(argv[1],
             MortalRank(argv[2], std::atoi(argv[3]), std::atoi(argv[4]), absl::Milliseconds(std::atoi(argv[5]))));
}
