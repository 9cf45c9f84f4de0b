#include "tests/integration/lives/kill_course.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"

namespace a8a::testing {
namespace {

// A rank exits without leaving at SIGTERM.
constexpr int kSignals[] = {SIGKILL, SIGSEGV, SIGTERM};

std::int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

const char* NameOf(int signal) { return signal == SIGKILL ? "SIGKILL" : signal == SIGSEGV ? "SIGSEGV" : "exit"; }

double At(const std::vector<double>& sorted_ms, std::size_t percent) {
  return sorted_ms.empty() ? 0 : sorted_ms[(sorted_ms.size() - 1) * percent / 100];
}

std::string Summary(const std::string& name, std::vector<double> ms) {
  if (ms.empty()) return "";
  std::sort(ms.begin(), ms.end());
  return absl::StrFormat("%-8s %4d kills of running ranks: p50 %.2f, p99 %.2f, max %.2f ms\n", name, ms.size(),
                         At(ms, 50), At(ms, 99), ms.back());
}

}  // namespace

void KillCourse::StartRank(int rank) {
  ranks_[static_cast<std::size_t>(rank)] = {
      std::make_unique<ChildProcess>(std::vector<std::string>{
          setting_.rank_program, setting_.runtime_dir, "mortal", std::to_string(rank), std::to_string(ranks_.size()),
          "30000", std::to_string(load_.row_bytes), setting_.board_path}),
      0};
  newest_ = rank;
}

void KillCourse::Signal(int victim, int signal) {
  ++phase_counts_[static_cast<std::size_t>(board_.of(victim).load())];
  ranks_[static_cast<std::size_t>(victim)].process->Signal(signal);
}

bool KillCourse::ReadLine(int rank, End* end) {
  Rank& from = ranks_[static_cast<std::size_t>(rank)];
  const std::string line = from.process->ReadLine();
  const std::vector<std::string> words = absl::StrSplit(line, absl::MaxSplits(' ', 2));
  if (words.size() == 2 && words[0] == "running") return absl::SimpleAtoi(words[1], &from.group_id);
  from.group_id = 0;
  const bool aborted = words.size() == 3 && words[0] == "ended" && absl::SimpleAtoi(words[1], &end->ns) &&
                       absl::StartsWith(words[2], "ABORTED: ");
  EXPECT_TRUE(aborted) << "rank " << rank << ": " << line;
  if (aborted) end->text = words[2];
  return aborted;
}

bool KillCourse::WaitUntilAllRun() {
  End end;
  Rank& newest = ranks_[static_cast<std::size_t>(newest_)];
  while (newest.group_id == 0) {
    if (!ReadLine(newest_, &end)) return false;
  }
  for (int rank = 0; rank < static_cast<int>(ranks_.size()); ++rank) {
    while (ranks_[static_cast<std::size_t>(rank)].group_id != newest.group_id) {
      if (!ReadLine(rank, &end)) return false;
    }
  }
  return true;
}

bool KillCourse::KillRunning(int victim, int signal) {
  const std::int64_t kill_ns = NowNs();
  Signal(victim, signal);
  std::int64_t last_ns = 0;
  for (int rank = 0; rank < static_cast<int>(ranks_.size()); ++rank) {
    if (rank == victim) continue;
    End end;
    if (!ReadLine(rank, &end)) return false;
    const bool names = absl::StrContains(end.text, absl::StrCat("rank ", victim, " died")) &&
                       absl::StrContains(end.text, "channel 0, epoch ");
    EXPECT_TRUE(names) << "rank " << rank << " about rank " << victim << ": " << end.text;
    if (!names) return false;
    last_ns = std::max(last_ns, end.ns - kill_ns);
  }
  kills_.push_back({load_.world_size, signal, static_cast<double>(last_ns) / 1e6});
  StartRank(victim);
  return true;
}

void KillCourse::SleepAtMost(absl::Duration longest) {
  absl::SleepFor(absl::Microseconds(RandomBelow(absl::ToInt64Microseconds(longest))));
}

bool KillCourse::Run(const Load& load) {
  const ::testing::ScopedTrace trace(__FILE__, __LINE__, absl::StrCat(load.world_size, " ranks, seed ", setting_.seed));
  load_ = load;
  ranks_.resize(static_cast<std::size_t>(load.world_size));
  for (int rank = 0; rank < load.world_size; ++rank) StartRank(rank);
  bool good = true;
  for (int kill = 0; kill < load.kill_count && good; kill += 2) {
    good = WaitUntilAllRun();
    if (!good) break;
    SleepAtMost(load.run_max);
    good = KillRunning(RandomBelow(load.world_size), kSignals[RandomBelow(std::size(kSignals))]);
    if (!good) break;
    // While the group forms again, most of the time; what the others make of it is read before all run again.
    SleepAtMost(load.form_max);
    const int victim = RandomBelow(load.world_size);
    Signal(victim, kSignals[RandomBelow(std::size(kSignals))]);
    StartRank(victim);
  }
  good = good && WaitUntilAllRun();
  ranks_.clear();
  return good;
}

std::vector<double> KillCourse::LatenciesMs() const {
  std::vector<double> ms;
  for (const Kill& kill : kills_) ms.push_back(kill.latency_ms);
  std::sort(ms.begin(), ms.end());
  return ms;
}

std::string KillCourse::Report() const {
  std::string text;
  for (int phase = 0; phase < kPhaseCount; ++phase) {
    absl::StrAppendFormat(&text, "%-20s %4d kills\n", kPhaseNames[phase], KillsIn(static_cast<Phase>(phase)));
  }
  for (const int signal : kSignals) {
    std::vector<double> ms;
    for (const Kill& kill : kills_) {
      if (kill.signal == signal) ms.push_back(kill.latency_ms);
    }
    text += Summary(NameOf(signal), std::move(ms));
  }
  return text + Summary("all", LatenciesMs());
}

void KillCourse::WriteRecord(const std::string& how) const {
  if (const char* const path = std::getenv("A8A_TEST_RECORD")) std::ofstream(path) << Json(how);
}

std::string KillCourse::Json(const std::string& how) const {
  std::vector<std::string> phases;
  for (int phase = 0; phase < kPhaseCount; ++phase) {
    phases.push_back(absl::StrFormat("\"%s\": %d", kPhaseNames[phase], KillsIn(static_cast<Phase>(phase))));
  }
  std::vector<std::string> records;
  for (const Kill& kill : kills_) {
    records.push_back(absl::StrFormat("{\"world_size\": %d, \"killed_by\": \"%s\", \"ms\": %.3f}", kill.world_size,
                                      NameOf(kill.signal), kill.latency_ms));
  }
  const std::vector<double> ms = LatenciesMs();
  return absl::StrFormat(
      "{\"device\": \"\", \"how\": \"%s\", \"kills\": {%s},\n\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"max_ms\": %.3f,\n"
      "\"records\": [%s]}\n",
      how, absl::StrJoin(phases, ", "), At(ms, 50), At(ms, 99), At(ms, 100), absl::StrJoin(records, ",\n"));
}

}  // namespace a8a::testing
