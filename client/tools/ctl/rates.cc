#include "client/tools/ctl/rates.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "client/tools/ctl/display_text.h"
#include "client/tools/ctl/format.h"

namespace a8a::ctl {
namespace {

// A rank stands out when the others wait this much more of their time than it does.
constexpr double kSlowestMargin = 0.05;
// Lines at the top of the screen before the tables, the titles of both, and the line that says what was left out.
constexpr int kFixedLines = 6;

using RankKey = std::pair<std::uint64_t, int>;

std::map<RankKey, const v1::Counters*> CountersByRank(const v1::Stats& stats) {
  std::map<RankKey, const v1::Counters*> counters;
  for (const v1::GroupStats& group : stats.groups()) {
    for (const v1::RankStats& rank : group.ranks()) counters[{group.group().group_id(), rank.rank()}] = &rank.total();
  }
  return counters;
}

double SecondsOf(const google::protobuf::Timestamp& time) {
  return static_cast<double>(time.seconds()) + 1e-9 * time.nanos();
}

// A group that was restored counts anew: never a negative rate.
double Difference(std::uint64_t before, std::uint64_t now) {
  return now < before ? 0 : static_cast<double>(now - before);
}

v1::WaitHistogram Subtract(const v1::WaitHistogram& before, const v1::WaitHistogram& now) {
  v1::WaitHistogram difference = now;
  for (int i = 0; i < std::min(before.counts_size(), now.counts_size()); ++i) {
    difference.set_counts(i, now.counts(i) < before.counts(i) ? 0 : now.counts(i) - before.counts(i));
  }
  return difference;
}

RankRates RatesOfRank(int rank, const v1::Counters& before, const v1::Counters& now, double seconds) {
  return {.rank = rank,
          .all_to_alls = Difference(before.all_to_alls(), now.all_to_alls()) / seconds,
          .rows_sent = Difference(before.rows_sent(), now.rows_sent()) / seconds,
          .bytes_sent = Difference(before.bytes_sent(), now.bytes_sent()) / seconds,
          .credit_wait_share = Difference(before.credit_wait().sum_ns(), now.credit_wait().sum_ns()) / seconds / 1e9,
          .done_wait_share = Difference(before.done_wait().sum_ns(), now.done_wait().sum_ns()) / seconds / 1e9,
          .done_wait_p99_ns = QuantileNs(Subtract(before.done_wait(), now.done_wait()), 0.99),
          .errors = Difference(ErrorCountOf(before), ErrorCountOf(now)) / seconds};
}

RankRates Total(const std::vector<RankRates>& ranks) {
  RankRates total;
  const double count = static_cast<double>(std::max<std::size_t>(ranks.size(), 1));
  for (const RankRates& rank : ranks) {
    total.all_to_alls += rank.all_to_alls / count;
    total.rows_sent += rank.rows_sent;
    total.bytes_sent += rank.bytes_sent;
    total.credit_wait_share += rank.credit_wait_share / count;
    total.done_wait_share += rank.done_wait_share / count;
    total.done_wait_p99_ns = std::max(total.done_wait_p99_ns, rank.done_wait_p99_ns);
    total.errors += rank.errors;
  }
  return total;
}

int SlowestRank(const std::vector<RankRates>& ranks) {
  if (ranks.size() < 2) return -1;
  const auto by_wait = [](const RankRates& a, const RankRates& b) { return a.done_wait_share < b.done_wait_share; };
  const auto least = std::min_element(ranks.begin(), ranks.end(), by_wait);
  double others = 0;
  for (const RankRates& rank : ranks) others += rank.rank == least->rank ? 0 : rank.done_wait_share;
  const double mean = others / static_cast<double>(ranks.size() - 1);
  return mean - least->done_wait_share >= kSlowestMargin ? least->rank : -1;
}

std::vector<Column> RateColumns() {
  return {{.title = "A2A/S", .align = Align::kRight},   {.title = "ROWS/S", .align = Align::kRight, .drop_order = 2},
          {.title = "BYTES/S", .align = Align::kRight}, {.title = "CREDIT", .align = Align::kRight, .drop_order = 1},
          {.title = "DONE", .align = Align::kRight},    {.title = "P99", .align = Align::kRight},
          {.title = "ERRORS/S", .align = Align::kRight}};
}

std::vector<Cell> RateCells(const RankRates& rates) {
  return {{FormatCount(rates.all_to_alls)},
          {FormatCount(rates.rows_sent)},
          {FormatBytes(rates.bytes_sent)},
          {FormatShare(rates.credit_wait_share)},
          {FormatShare(rates.done_wait_share)},
          {FormatNs(rates.done_wait_p99_ns)},
          {FormatCount(rates.errors), rates.errors > 0 ? Color::kBad : Color::kNone}};
}

template <typename T>
std::vector<T> Concatenate(std::vector<T> a, const std::vector<T>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

Table GroupTable(const Rates& rates) {
  Table table(Concatenate<Column>({{.title = "GROUP", .align = Align::kRight},
                                   {.title = "NAME", .flexible = true},
                                   {.title = "STATE", .drop_order = 3},
                                   {.title = "RANKS", .align = Align::kRight},
                                   {.title = "SLOWEST", .align = Align::kRight}},
                                  RateColumns()));
  for (const GroupRates& group : rates.groups) {
    const bool slow = group.slowest_rank >= 0;
    table.AddRow(
        Concatenate<Cell>({{absl::StrCat(group.group_id)},
                           {group.name},
                           {group.state},
                           {absl::StrCat(group.ranks.size())},
                           {slow ? absl::StrCat(group.slowest_rank) : "-", slow ? Color::kWarning : Color::kNone}},
                          RateCells(group.total)));
  }
  return table;
}

Table RankTable(const Rates& rates) {
  Table table(Concatenate<Column>(
      {{.title = "GROUP", .align = Align::kRight}, {.title = "RANK", .align = Align::kRight}}, RateColumns()));
  for (const GroupRates& group : rates.groups) {
    for (const RankRates& rank : group.ranks) {
      const Color color = rank.rank == group.slowest_rank ? Color::kWarning : Color::kNone;
      table.AddRow(
          Concatenate<Cell>({{absl::StrCat(group.group_id)}, {absl::StrCat(rank.rank), color}}, RateCells(rank)));
    }
  }
  return table;
}

// At most `lines` lines of `text`, the last of which then says how many are not shown.
std::string FirstLines(const std::string& text, int lines) {
  const std::vector<std::string> all = absl::StrSplit(text, '\n', absl::SkipEmpty());
  const int count = static_cast<int>(all.size());
  if (count <= lines) return text;
  const int shown = std::max(lines - 1, 1);
  return absl::StrCat(absl::StrJoin(all.begin(), all.begin() + shown, "\n"), "\n... ", count - shown,
                      " more lines; --group shows one group\n");
}

}  // namespace

Rates ComputeRates(const v1::Stats& before, const v1::Stats& now) {
  const bool same_daemon = before.daemon().daemon_instance_id() == now.daemon().daemon_instance_id();
  const v1::Stats nothing;
  const auto old_counters = CountersByRank(same_daemon ? before : nothing);  // points into it
  Rates rates;
  rates.seconds = std::max(SecondsOf(now.time()) - SecondsOf(before.time()), 1e-3);
  for (const v1::GroupStats& entry : now.groups()) {
    GroupRates group{
        .group_id = entry.group().group_id(), .name = entry.group().name(), .state = StateName(entry.group().state())};
    for (const v1::RankStats& rank : entry.ranks()) {
      const auto old = old_counters.find({group.group_id, rank.rank()});
      // What it did before the first snapshot that has it is no rate.
      const v1::Counters& fresh = same_daemon ? v1::Counters::default_instance() : rank.total();
      const v1::Counters& from = old == old_counters.end() ? fresh : *old->second;
      group.ranks.push_back(RatesOfRank(rank.rank(), from, rank.total(), rates.seconds));
    }
    group.total = Total(group.ranks);
    group.slowest_rank = SlowestRank(group.ranks);
    rates.groups.push_back(std::move(group));
  }
  std::stable_sort(rates.groups.begin(), rates.groups.end(),
                   [](const GroupRates& a, const GroupRates& b) { return a.total.bytes_sent > b.total.bytes_sent; });
  return rates;
}

std::string RatesView(const Rates& rates, const v1::Stats& now, const Style& style) {
  std::string text = absl::StrCat("a8a-daemon ", now.daemon().version(), ", pid ", now.daemon().pid(), ", up ",
                                  FormatAge(now.daemon().uptime().seconds()), ", ", now.sessions_size(), " sessions, ",
                                  now.groups_size(), " groups", now.daemon().draining() ? ", draining" : "");
  for (const v1::DeviceStats& device : now.devices()) {
    absl::StrAppend(&text, "; ", device.device().name(), " ", FormatBytes(static_cast<double>(device.leased_bytes())),
                    " of ", FormatBytes(static_cast<double>(device.device().pool_limit_bytes())));
  }
  text = absl::StrCat(style.width > 0 ? Truncate(text, style.width) : text, "\n\n");
  if (rates.groups.empty()) return absl::StrCat(text, "No groups.\n");
  const std::string groups = GroupTable(rates).Format(style);
  const std::string ranks = RankTable(rates).Format(style);
  if (style.height == 0) return absl::StrCat(text, groups, "\n", ranks);
  // Groups get at most half of the screen, ranks the rest.
  const int lines = std::max(style.height - kFixedLines, 4);
  const std::string shown = FirstLines(groups, lines / 2);
  const int left = lines - static_cast<int>(std::count(shown.begin(), shown.end(), '\n'));
  return absl::StrCat(text, shown, "\n", FirstLines(ranks, std::max(left, 2)));
}

nlohmann::ordered_json RatesJson(const Rates& rates) {
  const auto fields = [](const RankRates& rank) {
    return nlohmann::ordered_json{{"all_to_alls_per_second", rank.all_to_alls},
                                  {"rows_sent_per_second", rank.rows_sent},
                                  {"bytes_sent_per_second", rank.bytes_sent},
                                  {"credit_wait_share", rank.credit_wait_share},
                                  {"done_wait_share", rank.done_wait_share},
                                  {"done_wait_p99_ns", rank.done_wait_p99_ns},
                                  {"errors_per_second", rank.errors}};
  };
  nlohmann::ordered_json groups = nlohmann::ordered_json::array();
  for (const GroupRates& group : rates.groups) {
    nlohmann::ordered_json ranks = nlohmann::ordered_json::array();
    for (const RankRates& rank : group.ranks) {
      nlohmann::ordered_json entry = {{"rank", rank.rank}};
      entry.update(fields(rank));
      ranks.push_back(entry);
    }
    groups.push_back({{"group_id", group.group_id},
                      {"name", group.name},
                      {"state", group.state},
                      {"slowest_rank",
                       group.slowest_rank < 0 ? nlohmann::ordered_json() : nlohmann::ordered_json(group.slowest_rank)},
                      {"total", fields(group.total)},
                      {"ranks", ranks}});
  }
  return {{"seconds", rates.seconds}, {"groups", groups}};
}

}  // namespace a8a::ctl
