// One channel of one life of a group: its windows, its plans, and its turns, each checked to the last byte.
#ifndef A8A_TESTS_SOAK_CHANNEL_RUN_H_
#define A8A_TESTS_SOAK_CHANNEL_RUN_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "a8a/client.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/soak/reporter.h"
#include "tests/soak/script.h"

namespace a8a::soak {

// What the channels of one life share; outlives them.
struct Life {
  int slot = 0;
  a8a::Group* group = nullptr;
  const Script* script = nullptr;
  Reporter* reporter = nullptr;
  absl::Duration all_to_all_timeout;
  std::atomic<bool> over = false;  // leave, at the end of a block
  std::atomic<std::int64_t> turns = 0;
};

class ChannelRun {
 public:
  ChannelRun(Life* life, int channel);

  // The first windows, collectively.
  [[nodiscard]] absl::Status Open();
  // OK also after an error that is over with its turn; else the life is over. Every error has been reported.
  [[nodiscard]] absl::Status RunBlock(int index);

 private:
  // One side of a turn as the library takes it, with its arrays in both types.
  struct Side {
    Layout layout;
    std::vector<std::int64_t> rows;
    std::vector<std::int32_t> rows32;
    std::vector<std::int32_t> first_row32;
  };
  struct Turn {
    std::int64_t row_bytes = 0;
    bool wide = false;  // 64-bit indices
    Side send;
    Side receive;
  };

  [[nodiscard]] absl::Status OneShots(int turns);
  [[nodiscard]] absl::Status Prepared(const Block& block);
  [[nodiscard]] absl::Status Renew();

  [[nodiscard]] Turn MakeTurn() const;
  [[nodiscard]] Side MakeSide(const Shape& shape, bool sends) const;
  [[nodiscard]] static a8a::Splits SplitsOf(const Turn& turn);
  [[nodiscard]] a8a::Input InputOf(const Turn& turn) const;
  [[nodiscard]] static a8a::Output OutputOf(const Turn& turn, const a8a::Window& window);
  void FillInput(const Turn& turn);

  // Reports an error, and checks the rows where there is none. Not OK: the life is over.
  [[nodiscard]] absl::Status Conclude(const char* what, const absl::Status& status, const Turn& turn,
                                      const a8a::Window& window);
  [[nodiscard]] absl::Status Report(const char* what, const absl::Status& status) const;
  [[nodiscard]] absl::Status Check(const Turn& turn, const a8a::Window& window);
  [[nodiscard]] absl::Status CheckRow(const RowName& name, const char* row, std::int64_t row_bytes);

  // Registers both windows of a generation, and again while the daemon is away.
  [[nodiscard]] absl::Status Register(std::int64_t generation, absl::Duration timeout,
                                      std::unique_ptr<a8a::Window> (&windows)[2]);
  // Whether all ranks have their new windows; an error: not known.
  [[nodiscard]] absl::StatusOr<bool> Vote(bool yes);

  Life* const life_;
  const Script& script_;
  const int channel_;
  const int rank_;
  std::vector<char> input_;
  std::vector<char> expected_;
  std::unique_ptr<a8a::Window> windows_[2];
  a8a::Plan plans_[2];
  std::int64_t turn_ = 0;  // also those of Prepare
  // After an error, rows that nobody waits for may still come: then only rows that were waited for are looked at.
  bool clean_ = true;
};

}  // namespace a8a::soak

#endif  // A8A_TESTS_SOAK_CHANNEL_RUN_H_
