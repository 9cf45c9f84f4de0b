#include "daemon/metrics/core_families.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <iterator>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace a8a::daemon {
namespace {

using prometheus::MetricType;

// Of the histogram of waits, whose buckets are powers of two of nanoseconds, every second one from 1 us to 17 s: the
// waits below are as good as none, and above there are deadlines.
constexpr int kWaitExponentFirst = 10;
constexpr int kWaitExponentLast = 34;
constexpr int kWaitExponentStep = 2;

// Shown from the start, so that the first error of a kind is an increase and not a new series.
constexpr std::array<absl::StatusCode, 3> kUsualErrors = {
    absl::StatusCode::kDeadlineExceeded, absl::StatusCode::kAborted, absl::StatusCode::kFailedPrecondition};

constexpr std::array<absl::string_view, 6> kEndReasons = {"unknown",   "rank_died", "aborted_by_rank",
                                                          "rank_left", "revoked",   "drained"};

struct TrafficField {
  const char* name;
  const char* help;
  std::uint64_t Traffic::*field;
};
constexpr TrafficField kTrafficFields[] = {
    {"all_to_alls_total", "All-to-alls that ended, with or without error, counted by each rank.",
     &Traffic::all_to_alls},
    {"prepares_total", "Prepare calls that ended, counted by each rank.", &Traffic::prepares},
    {"sent_rows_total", "Rows sent, those to oneself included.", &Traffic::rows_sent},
    {"sent_bytes_total", "Bytes sent, those to oneself included.", &Traffic::bytes_sent},
    {"received_rows_total", "Rows received, those from oneself included.", &Traffic::rows_received},
    {"received_bytes_total", "Bytes received, those from oneself included.", &Traffic::bytes_received},
};

Traffic TrafficOf(const RankSnapshot& rank) {
  Traffic traffic;
  for (const ChannelSnapshot& channel : rank.channels) {
    traffic += {.all_to_alls = channel.all_to_alls,
                .prepares = channel.prepares,
                .rows_sent = channel.rows_sent,
                .bytes_sent = channel.bytes_sent,
                .rows_received = channel.rows_received,
                .bytes_received = channel.bytes_received,
                .errors = channel.errors};
  }
  return traffic;
}

void AddErrors(const Traffic& traffic, const MetricLabels& labels, FamilyMaker* errors) {
  for (std::size_t i = 1; i < traffic.errors.size(); ++i) {
    const auto code = static_cast<absl::StatusCode>(i);
    const bool usual = std::find(kUsualErrors.begin(), kUsualErrors.end(), code) != kUsualErrors.end();
    if (traffic.errors[i] == 0 && !usual) continue;
    MetricLabels with_code = labels;
    with_code.push_back({"code", absl::StatusCodeToString(code)});
    errors->Add(traffic.errors[i], std::move(with_code));
  }
}

// Of all channels of a rank together.
prometheus::ClientMetric::Histogram Waits(const RankSnapshot& rank, kernels::WaitCounters ChannelSnapshot::*waits) {
  std::array<std::uint64_t, kernels::kWaitBucketCount> counts = {};
  prometheus::ClientMetric::Histogram histogram;
  for (const ChannelSnapshot& channel : rank.channels) {
    const kernels::WaitCounters& from = channel.*waits;
    histogram.sample_sum += static_cast<double>(from.sum_ns) * 1e-9;
    for (std::size_t i = 0; i < counts.size(); ++i) counts[i] += from.counts[i];
  }
  int exponent = kWaitExponentFirst;
  for (int i = 0; i < kernels::kWaitBucketCount; ++i) {
    // counts[i] holds what is below 2^(i + 1) ns.
    histogram.sample_count += counts[static_cast<std::size_t>(i)];
    if (i + 1 != exponent || exponent > kWaitExponentLast) continue;
    const double upper_bound = static_cast<double>(std::uint64_t{1} << exponent) * 1e-9;
    histogram.bucket.push_back({.cumulative_count = histogram.sample_count, .upper_bound = upper_bound});
    exponent += kWaitExponentStep;
  }
  return histogram;
}

void AddDevices(const CoreSnapshot& snapshot, MetricFamilies* families) {
  FamilyMaker limit("a8a_pool_limit_bytes", "Bytes of a device that may be leased at once.", MetricType::Gauge);
  FamilyMaker leased("a8a_pool_leased_bytes", "Bytes of a device that are leased.", MetricType::Gauge);
  FamilyMaker peak("a8a_pool_leased_peak_bytes", "The most that was leased of a device at once.", MetricType::Gauge);
  FamilyMaker free("a8a_pool_free_bytes", "Bytes of a device that may still be leased.", MetricType::Gauge);
  FamilyMaker leases("a8a_leases", "Leases, those of windows and flags included.", MetricType::Gauge);
  for (const DeviceSnapshot& device : snapshot.devices) {
    const MetricLabels labels = {{"device", device.device.name}};
    limit.Add(device.device.pool_limit_bytes, labels);
    leased.Add(device.leased_bytes, labels);
    peak.Add(device.leased_bytes_peak, labels);
    // Leases of an earlier daemon with a higher limit are taken up all the same.
    free.Add(std::max<std::int64_t>(device.device.pool_limit_bytes - device.leased_bytes, 0), labels);
    leases.Add(device.lease_count, labels);
  }
  for (FamilyMaker* maker : {&limit, &leased, &peak, &free, &leases}) maker->MoveTo(families);
}

void AddSessionsAndGroups(const CoreSnapshot& snapshot, MetricFamilies* families) {
  const auto open = std::count_if(snapshot.sessions.begin(), snapshot.sessions.end(),
                                  [](const SessionSnapshot& session) { return session.session.stream_open; });
  FamilyMaker sessions("a8a_sessions", "Sessions, by whether their Attach stream is open.", MetricType::Gauge);
  sessions.Add(open, {{"stream", "open"}});
  sessions.Add(static_cast<std::int64_t>(snapshot.sessions.size()) - open, {{"stream", "broken"}});
  sessions.MoveTo(families);

  FamilyMaker groups("a8a_groups", "Groups, by state.", MetricType::Gauge);
  std::int64_t control_bytes = 0;
  for (const auto& [state, name] :
       {std::pair(GroupState::kForming, "forming"), {GroupState::kReady, "ready"}, {GroupState::kAborted, "ended"}}) {
    groups.Add(std::count_if(snapshot.groups.begin(), snapshot.groups.end(),
                             [wanted = state](const GroupSnapshot& group) { return group.group.state == wanted; }),
               {{"state", name}});
  }
  groups.MoveTo(families);
  for (const GroupSnapshot& group : snapshot.groups) control_bytes += group.control_bytes;
  AddGauge(families, "a8a_control_bytes", "Memory of the groups' control segments, which is not the pool's.",
           control_bytes);
  AddGauge(families, "a8a_draining", "1 while the daemon takes nothing new, else 0.", snapshot.draining ? 1 : 0);
}

void AddCounters(const CoreCounters& counters, MetricFamilies* families) {
  AddCounter(families, "a8a_sessions_attached_total", "Sessions that were begun, by earlier daemons of this state too.",
             counters.sessions_total);
  AddCounter(families, "a8a_sessions_died_total", "Sessions whose process ended without goodbye, as above.",
             counters.sessions_died_total);
  AddCounter(families, "a8a_groups_completed_total", "Groups for which all ranks came, as above.",
             counters.groups_total);
  AddCounter(families, "a8a_groups_dissolved_total", "Groups that ended before all ranks had come.",
             counters.groups_dissolved_total);
  FamilyMaker ended("a8a_groups_ended_total", "Ends of complete groups, by reason.", MetricType::Counter);
  for (std::size_t reason = 1; reason < kEndReasons.size(); ++reason) {
    ended.Add(counters.groups_ended_total[reason], {{"reason", std::string(kEndReasons[reason])}});
  }
  ended.MoveTo(families);
  FamilyMaker refusals("a8a_refusals_total", "Sessions, groups, windows and buffers that were refused, by the limit.",
                       MetricType::Counter);
  for (std::size_t limit = 0; limit < kLimitNames.size(); ++limit) {
    refusals.Add(counters.refusals_total[limit], {{"limit", std::string(kLimitNames[limit])}});
  }
  refusals.MoveTo(families);
}

void AddTotals(const CoreSnapshot& snapshot, MetricFamilies* families) {
  Traffic total = snapshot.counters.ended_groups;
  for (const GroupSnapshot& group : snapshot.groups) total += group.traffic;
  for (const TrafficField& field : kTrafficFields) {
    AddCounter(families, absl::StrCat("a8a_", field.name), absl::StrCat(field.help, " All groups together."),
               total.*field.field);
  }
  FamilyMaker errors("a8a_errors_total", "All-to-alls and Prepares that ended with an error, by code, of all groups.",
                     MetricType::Counter);
  AddErrors(total, {}, &errors);
  errors.MoveTo(families);
}

// The series of single ranks.
class RankFamilies {
 public:
  RankFamilies() {
    for (const TrafficField& field : kTrafficFields) {
      traffic_.emplace_back(absl::StrCat("a8a_rank_", field.name), absl::StrCat(field.help, " By rank."),
                            MetricType::Counter);
    }
  }

  void Add(const GroupSnapshot& group) {
    const MetricLabels labels = {{"group_id", absl::StrCat(group.group.group_id)}, {"group", group.group.name}};
    MetricLabels info = labels;
    info.push_back({"uid", absl::StrCat(group.group.uid)});
    info.push_back({"world_size", absl::StrCat(group.group.world_size)});
    info_.Add(1, std::move(info));
    for (const RankSnapshot& rank : group.ranks) AddRank(rank, labels);
  }

  void MoveTo(MetricFamilies* families) {
    for (FamilyMaker& maker : traffic_) maker.MoveTo(families);
    for (FamilyMaker* maker : {&info_, &errors_, &leased_, &credit_wait_, &done_wait_}) maker->MoveTo(families);
  }

 private:
  void AddRank(const RankSnapshot& rank, MetricLabels labels) {
    labels.push_back({"rank", absl::StrCat(rank.rank)});
    const Traffic traffic = TrafficOf(rank);
    for (std::size_t i = 0; i < traffic_.size(); ++i) traffic_[i].Add(traffic.*kTrafficFields[i].field, labels);
    AddErrors(traffic, labels, &errors_);
    leased_.Add(rank.leased_bytes, labels);
    credit_wait_.Add(Waits(rank, &ChannelSnapshot::credit_wait), labels);
    done_wait_.Add(Waits(rank, &ChannelSnapshot::done_wait), labels);
  }

  std::vector<FamilyMaker> traffic_;
  FamilyMaker info_{"a8a_group_info", "1 for each group that is shown by rank.", MetricType::Gauge};
  FamilyMaker errors_{"a8a_rank_errors_total", "All-to-alls and Prepares that ended with an error, by code and rank.",
                      MetricType::Counter};
  FamilyMaker leased_{"a8a_rank_leased_bytes", "Leased to a rank for its group: windows and flags.", MetricType::Gauge};
  FamilyMaker credit_wait_{"a8a_rank_credit_wait_seconds", "Waits of a rank for a peer's credit: where its rows go.",
                           MetricType::Histogram};
  FamilyMaker done_wait_{"a8a_rank_done_wait_seconds", "Waits of a rank for a peer's done: that its rows are there.",
                         MetricType::Histogram};
};

}  // namespace

MetricFamilies CoreFamilies(const CoreSnapshot& snapshot, int rank_max) {
  MetricFamilies families;
  AddDevices(snapshot, &families);
  AddSessionsAndGroups(snapshot, &families);
  AddCounters(snapshot.counters, &families);
  AddTotals(snapshot, &families);

  RankFamilies ranks;
  std::size_t shown = 0;
  std::size_t not_shown = 0;
  for (const GroupSnapshot& group : snapshot.groups) {
    const bool fits = not_shown == 0 && shown + group.ranks.size() <= static_cast<std::size_t>(rank_max);
    (fits ? shown : not_shown) += group.ranks.size();
    if (fits && !group.ranks.empty()) ranks.Add(group);
  }
  ranks.MoveTo(&families);
  AddGauge(&families, "a8a_ranks_not_shown", "Ranks without series of their own, because of metrics.rank_max.",
           not_shown);
  return families;
}

}  // namespace a8a::daemon
