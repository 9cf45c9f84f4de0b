#include "tests/soak/channel_run.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "kernels/base/status_macros.h"

namespace a8a::soak {
namespace {

constexpr absl::Duration kOpenTimeout = absl::Seconds(30);
constexpr absl::Duration kRetryPause = absl::Milliseconds(20);
constexpr std::int64_t kVoteRowBytes = 16;
constexpr std::int64_t kFirstGeneration = -1;  // later ones are named by their turn

std::size_t Index(std::int64_t index) { return static_cast<std::size_t>(index); }

// Worth trying again: the daemon is away, or has not noticed yet that an earlier call has ended.
bool IsPassing(const absl::Status& status) { return absl::IsUnavailable(status) || absl::IsAlreadyExists(status); }

bool IsZero(const char* memory, std::int64_t size_bytes) {
  return memory[0] == 0 && std::memcmp(memory, memory + 1, Index(size_bytes - 1)) == 0;
}

}  // namespace

ChannelRun::ChannelRun(Life* life, int channel)
    : life_(life),
      script_(*life->script),
      channel_(channel),
      rank_(life->group->rank()),
      input_(Index(script_.window_bytes())),
      expected_(Index(script_.window_bytes())) {}

absl::Status ChannelRun::Open() { return Report("open", Register(kFirstGeneration, kOpenTimeout, windows_)); }

absl::Status ChannelRun::RunBlock(int index) {
  const Block block = script_.BlockOf(channel_, index);
  switch (block.kind) {
    case Block::Kind::kOneShot:
      return OneShots(block.turns);
    case Block::Kind::kPrepared:
      return Prepared(block);
    case Block::Kind::kRenew:
      break;
  }
  return Renew();
}

absl::Status ChannelRun::OneShots(int turns) {
  for (int i = 0; i < turns; ++i) {
    const Turn turn = MakeTurn();
    const a8a::Window& window = *windows_[turn_ % 2];
    FillInput(turn);
    const absl::Status status =
        life_->group->AllToAll(InputOf(turn), OutputOf(turn, window), SplitsOf(turn), a8a::Channel{channel_});
    A8A_RETURN_IF_ERROR(Conclude("one_shot", status, turn, window));
  }
  return absl::OkStatus();
}

absl::Status ChannelRun::Prepared(const Block& block) {
  const int plan_count = block.alternate ? 2 : 1;
  Turn turns[2];
  for (int p = 0; p < plan_count; ++p) {
    turns[p] = MakeTurn();
    const absl::Status status = life_->group->Prepare(&plans_[p], InputOf(turns[p]), OutputOf(turns[p], *windows_[p]),
                                                      SplitsOf(turns[p]), a8a::Channel{channel_});
    A8A_RETURN_IF_ERROR(Report("prepare", status));
    ++life_->reporter->counters.prepares;
    ++turn_;
  }
  for (int i = 0; i < block.turns; ++i) {
    const int p = i % plan_count;
    FillInput(turns[p]);
    const absl::Status status = life_->group->AllToAll(plans_[p], InputOf(turns[p]).data);
    A8A_RETURN_IF_ERROR(Conclude("prepared", status, turns[p], *windows_[p]));
  }
  return absl::OkStatus();
}

// A rank whose registration failed cannot know whether others have succeeded: they vote, in the old windows.
absl::Status ChannelRun::Renew() {
  std::unique_ptr<a8a::Window> windows[2];
  const absl::Status registered = Register(turn_, life_->all_to_all_timeout * 0.6, windows);
  if (!registered.ok()) {
    static_cast<void>(Report("renew", registered));
    if (absl::IsAborted(registered)) return registered;
  }
  const absl::StatusOr<bool> all = Vote(registered.ok());
  A8A_RETURN_IF_ERROR(all.status());
  if (!*all) return absl::OkStatus();
  for (int w = 0; w < 2; ++w) windows_[w] = std::move(windows[w]);
  clean_ = true;
  return absl::OkStatus();
}

absl::Status ChannelRun::Register(std::int64_t generation, absl::Duration timeout,
                                  std::unique_ptr<a8a::Window> (&windows)[2]) {
  const absl::Time deadline = absl::Now() + timeout;
  for (int w = 0; w < 2; ++w) {
    const std::string name = absl::StrCat("c", channel_, ".", generation, ".", w);
    while (true) {
      auto window = life_->group->RegisterWindow(name, script_.window_bytes(), deadline - absl::Now());
      if (window.ok()) {
        windows[w] = *std::move(window);
        ++life_->reporter->counters.windows;
        break;
      }
      if (!IsPassing(window.status()) || absl::Now() + kRetryPause > deadline) return window.status();
      absl::SleepFor(kRetryPause);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> ChannelRun::Vote(bool yes) {
  const std::vector<std::int32_t> splits(Index(script_.world_size()), 1);
  const auto view = a8a::View::Contiguous(script_.world_size(), kVoteRowBytes);
  std::memset(input_.data(), yes ? 'y' : 'n', Index(script_.world_size() * kVoteRowBytes));
  const absl::Status status =
      life_->group->AllToAll({input_.data(), view}, {windows_[0].get(), 0, view},
                             a8a::Splits::Int32(splits.data(), splits.data()), a8a::Channel{channel_});
  ++turn_;
  if (!status.ok()) {
    static_cast<void>(Report("vote", status));
    return status;  // also of a deadline: whoever does not know what was decided can only leave
  }
  char* const votes = reinterpret_cast<char*>(windows_[0]->data());
  const bool all =
      std::count(votes, votes + script_.world_size() * kVoteRowBytes, 'y') == script_.world_size() * kVoteRowBytes;
  std::memset(votes, 0, Index(script_.world_size() * kVoteRowBytes));
  ++life_->reporter->counters.all_to_alls;
  return all;
}

ChannelRun::Side ChannelRun::MakeSide(const Shape& shape, bool sends) const {
  Side side;
  for (int peer = 0; peer < script_.world_size(); ++peer) {
    side.rows.push_back(
        shape.rows[Index(sends ? rank_ * script_.world_size() + peer : peer * script_.world_size() + rank_)]);
  }
  const auto salt = static_cast<std::uint64_t>(((turn_ * 64 + channel_) * 64 + rank_) * 2 + (sends ? 1 : 0));
  side.layout = script_.LayoutOf(shape, side.rows, salt);
  side.rows32.assign(side.rows.begin(), side.rows.end());
  side.first_row32.assign(side.layout.first_row.begin(), side.layout.first_row.end());
  return side;
}

ChannelRun::Turn ChannelRun::MakeTurn() const {
  const Shape shape = script_.ShapeOf(channel_, turn_);
  return {.row_bytes = shape.row_bytes,
          .wide = (turn_ + rank_) % 2 == 0,
          .send = MakeSide(shape, /*sends=*/true),
          .receive = MakeSide(shape, /*sends=*/false)};
}

a8a::Splits ChannelRun::SplitsOf(const Turn& turn) {
  const Side& send = turn.send;
  const Side& receive = turn.receive;
  if (turn.wide) {
    return a8a::Splits::Int64(send.rows.data(), receive.rows.data(),
                              send.layout.tells_first_row ? send.layout.first_row.data() : nullptr,
                              receive.layout.tells_first_row ? receive.layout.first_row.data() : nullptr);
  }
  return a8a::Splits::Int32(send.rows32.data(), receive.rows32.data(),
                            send.layout.tells_first_row ? send.first_row32.data() : nullptr,
                            receive.layout.tells_first_row ? receive.first_row32.data() : nullptr);
}

a8a::Input ChannelRun::InputOf(const Turn& turn) const {
  return {.data = input_.data() + turn.send.layout.offset_bytes, .view = turn.send.layout.view};
}

a8a::Output ChannelRun::OutputOf(const Turn& turn, const a8a::Window& window) {
  return {.window = &window, .offset_bytes = turn.receive.layout.offset_bytes, .view = turn.receive.layout.view};
}

void ChannelRun::FillInput(const Turn& turn) {
  for (int peer = 0; peer < script_.world_size(); ++peer) {
    for (std::int64_t row = 0; row < turn.send.rows[Index(peer)]; ++row) {
      script_.FillRow({channel_, turn_, rank_, peer, row}, input_.data() + turn.send.layout.RowOffsetBytes(peer, row),
                      turn.row_bytes);
    }
  }
}

absl::Status ChannelRun::Conclude(const char* what, const absl::Status& status, const Turn& turn,
                                  const a8a::Window& window) {
  absl::Status result;
  if (status.ok()) {
    result = Check(turn, window);
  } else {
    clean_ = false;
    result = Report(what, status);
  }
  ++life_->reporter->counters.all_to_alls;
  ++life_->turns;
  ++turn_;
  return result;
}

// A deadline costs a turn, and a plan that missed one costs the turns that use it.
absl::Status ChannelRun::Report(const char* what, const absl::Status& status) const {
  if (status.ok()) return status;
  life_->reporter->SayError({{"slot", life_->slot},
                             {"group", life_->group->id()},
                             {"rank", rank_},
                             {"op", what},
                             {"channel", channel_},
                             {"turn", turn_}},
                            status);
  const bool in_turn = std::strcmp(what, "open") != 0;
  const bool passes = absl::IsDeadlineExceeded(status) || absl::IsFailedPrecondition(status);
  return in_turn && passes ? absl::OkStatus() : status;
}

absl::Status ChannelRun::Check(const Turn& turn, const a8a::Window& window) {
  char* const memory = reinterpret_cast<char*>(window.data());
  for (int peer = 0; peer < script_.world_size(); ++peer) {
    for (std::int64_t row = 0; row < turn.receive.rows[Index(peer)]; ++row) {
      char* const at = memory + turn.receive.layout.RowOffsetBytes(peer, row);
      A8A_RETURN_IF_ERROR(CheckRow({channel_, turn_, peer, rank_, row}, at, turn.row_bytes));
      // So that the window is zero again, which is looked at below, and nothing old passes for new.
      if (clean_) std::memset(at, 0, Index(turn.row_bytes));
    }
  }
  if (!clean_) return absl::OkStatus();
  life_->reporter->counters.bytes_checked += script_.window_bytes();
  if (IsZero(memory, script_.window_bytes())) return absl::OkStatus();
  const char* const end = memory + script_.window_bytes();
  const char* const stray = std::find_if(memory, memory + script_.window_bytes(), [](char byte) { return byte != 0; });
  return Report("wrong",
                absl::DataLossError(absl::StrCat(
                    "window ", window.name(), " was written at byte ", stray - memory,
                    ", which nobody should: ", script_.Describe(stray, std::min<std::int64_t>(8, end - stray)))));
}

absl::Status ChannelRun::CheckRow(const RowName& name, const char* row, std::int64_t row_bytes) {
  script_.FillRow(name, expected_.data(), row_bytes);
  life_->reporter->counters.bytes_checked += row_bytes;
  if (std::memcmp(row, expected_.data(), Index(row_bytes)) == 0) return absl::OkStatus();
  const char* const wrong = std::mismatch(row, row + row_bytes, expected_.data()).first;
  return Report("wrong", absl::DataLossError(absl::StrCat("byte ", wrong - row, " of ", row_bytes, " of row ", name.row,
                                                          " from rank ", name.sender, " is wrong; the row is ",
                                                          script_.Describe(row, row_bytes))));
}

}  // namespace a8a::soak
