// mortal_rank RUNTIME_DIR GROUP RANK WORLD_SIZE TIMEOUT_MS [ROW_BYTES BOARD]: joins, registers windows and repeats
// all-to-alls, whose every byte it checks, until the group ends; then begins again under the same name, for ever. It is
// meant to be killed at any instant, and exits at once, without leaving, at SIGTERM. BOARD is the path of a PhaseBoard.
//
// Prints "running ID" after the first all-to-all of a group, and "ended NS STATUS" when a group has ended for it, NS
// being the monotonic clock when the call returned that said so. Exit status 1, after the reason: an error other than
// the group's end, or a wrong byte.
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "a8a/client.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "kernels/base/status_macros.h"
#include "tests/integration/lives/phase_board.h"
#include "tests/integration/lives/rank_memory.h"

namespace a8a::testing {
namespace {

constexpr int kWindows = 2;
constexpr std::int64_t kRowBytes = 16384;
constexpr Channel kChannel{0};

std::int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

char ByteOf(int sender, std::int64_t turn) { return static_cast<char>(sender * 29 + turn * 7); }

bool IsFilledWith(const char* bytes, std::int64_t size_bytes, char byte) {
  return bytes[0] == byte && std::memcmp(bytes, bytes + 1, static_cast<std::size_t>(size_bytes - 1)) == 0;
}

class MortalRank {
 public:
  struct Options {
    std::string name;
    int rank;
    int world_size;
    absl::Duration timeout;
    std::int64_t row_bytes;
  };

  MortalRank(Options options, const PhaseBoard& board, std::unique_ptr<RankMemory> memory)
      : options_(std::move(options)),
        phase_(board.of(options_.rank)),
        memory_(std::move(memory)),
        view_(View::Contiguous(options_.world_size, options_.row_bytes)) {}

  // One group, from joining to its end; never OK.
  absl::Status Live(Client* client) {
    phase_ = Phase::kJoining;
    auto group = Ending(client->Join({.name = options_.name,
                                      .rank = options_.rank,
                                      .world_size = options_.world_size,
                                      .device = memory_->device(),
                                      .channel_count = 1,
                                      .all_to_all_timeout = options_.timeout}));
    if (!group.ok()) return group.status();
    std::unique_ptr<Window> windows[kWindows];
    Plan plans[kWindows];
    for (int w = 0; w < kWindows; ++w) A8A_RETURN_IF_ERROR(Ending(Prepare(group->get(), w, &windows[w], &plans[w])));
    bool told = false;
    for (std::int64_t turn = 0;; ++turn) {
      const auto w = static_cast<std::size_t>(turn % kWindows);
      const absl::Status status = Ending(AllToAll(group->get(), *windows[w], turn % 4 < 2 ? &plans[w] : nullptr, turn));
      if (absl::IsDeadlineExceeded(status)) {
        std::cout << "late " << status << std::endl;
        told = false;
        continue;
      }
      A8A_RETURN_IF_ERROR(status);
      A8A_RETURN_IF_ERROR(Check(*windows[w], turn));
      if (!std::exchange(told, true)) std::cout << "running " << (*group)->id() << std::endl;
    }
  }

  // When the call returned that ended Live.
  [[nodiscard]] std::int64_t ended_ns() const { return ended_ns_; }

 private:
  template <typename Result>
  Result Ending(Result result) {
    if (!result.ok()) ended_ns_ = NowNs();
    return result;
  }

  [[nodiscard]] Input input() const { return {memory_->rows(), view_}; }
  [[nodiscard]] Splits splits() const { return Splits::Int32(memory_->splits(), memory_->splits()); }

  absl::Status Prepare(Group* group, int w, std::unique_ptr<Window>* window, Plan* plan) {
    phase_ = Phase::kRegistering;
    A8A_ASSIGN_OR_RETURN(*window,
                         group->RegisterWindow(absl::StrCat("w", w), options_.world_size * options_.row_bytes));
    // Nobody stores into it before this rank's Prepare. Memory of a rank that died would not be empty.
    A8A_ASSIGN_OR_RETURN(const char* const bytes, memory_->Read((*window)->data()));
    if (!IsFilledWith(bytes, options_.world_size * options_.row_bytes, 0)) {
      return absl::DataLossError("a new window is not empty");
    }
    phase_ = Phase::kPreparing;
    return memory_->Finish(
        group, group->Prepare(plan, input(), {window->get(), 0, view_}, splits(), kChannel, memory_->stream()));
  }

  absl::Status AllToAll(Group* group, const Window& window, const Plan* plan, std::int64_t turn) {
    phase_ = Phase::kBetween;
    A8A_RETURN_IF_ERROR(memory_->Fill(ByteOf(options_.rank, turn)));
    phase_ = Phase::kAllToAll;
    const absl::Status launched =
        plan != nullptr ? group->AllToAll(*plan, memory_->rows(), memory_->stream())
                        : group->AllToAll(input(), {&window, 0, view_}, splits(), kChannel, memory_->stream());
    absl::Status status = memory_->Finish(group, launched);
    phase_ = Phase::kBetween;
    return status;
  }

  [[nodiscard]] absl::Status Check(const Window& window, std::int64_t turn) const {
    A8A_ASSIGN_OR_RETURN(const char* const bytes, memory_->Read(window.data()));
    for (int sender = 0; sender < options_.world_size; ++sender) {
      if (IsFilledWith(bytes + sender * options_.row_bytes, options_.row_bytes, ByteOf(sender, turn))) continue;
      return absl::DataLossError(absl::StrCat("turn ", turn, ": the row of rank ", sender, " has a wrong byte"));
    }
    return absl::OkStatus();
  }

  const Options options_;
  std::atomic<Phase>& phase_;
  const std::unique_ptr<RankMemory> memory_;
  const View view_;
  std::int64_t ended_ns_ = 0;
};

int Fail(const absl::Status& status) {
  std::cout << status << std::endl;
  return EXIT_FAILURE;
}

int Run(const std::string& runtime_dir, MortalRank::Options options, const std::string& board_path) {
  const PhaseBoard board(board_path);
  board.of(options.rank) = Phase::kStarting;
  auto memory = RankMemory::Create(options.rank, options.world_size, static_cast<std::size_t>(options.row_bytes));
  if (!memory.ok()) return Fail(memory.status());
  auto client = Client::Connect({.runtime_dir = runtime_dir, .client_name = "mortal_rank"});
  if (!client.ok()) return Fail(client.status());
  MortalRank rank(std::move(options), board, *std::move(memory));
  while (true) {
    const absl::Status status = rank.Live(client->get());
    if (absl::IsAlreadyExists(status)) {
      // The rank of a process whose end the daemon has not seen yet.
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      continue;
    }
    std::cout << "ended " << rank.ended_ns() << " " << status << std::endl;
    if (!absl::IsAborted(status)) return EXIT_FAILURE;
  }
}

}  // namespace
}  // namespace a8a::testing

int main(int argc, char** argv) {
  if (argc != 6 && argc != 8) {
    std::cerr << "usage: mortal_rank RUNTIME_DIR GROUP RANK WORLD_SIZE TIMEOUT_MS [ROW_BYTES BOARD]\n";
    return 2;
  }
  const rlimit no_core = {0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::signal(SIGTERM, [](int) { ::_exit(0); });
  return a8a::testing::Run(argv[1],
                           {.name = argv[2],
                            .rank = std::atoi(argv[3]),
                            .world_size = std::atoi(argv[4]),
                            .timeout = absl::Milliseconds(std::atoi(argv[5])),
                            .row_bytes = argc == 8 ? std::atoll(argv[6]) : a8a::testing::kRowBytes},
                           argc == 8 ? argv[7] : "");
}
