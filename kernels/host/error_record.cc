#include "kernels/host/error_record.h"

#include <atomic>
#include <optional>

#include "absl/strings/str_cat.h"
#include "kernels/host/channel.h"
#include "kernels/include/host_all_to_all.h"

namespace a8a::kernels::host {
namespace {

// Fields are relaxed: error_count, with release and acquire, orders them.
template <typename T>
void StoreRelaxed(T& field, T value) {
  std::atomic_ref<T>(field).store(value, std::memory_order_relaxed);
}

template <typename T>
T LoadRelaxed(T& field) {
  return std::atomic_ref<T>(field).load(std::memory_order_relaxed);
}

FaultReport LoadReport(ErrorRecord& record, int rank, int channel) {
  return {.operation = LoadRelaxed(record.operation),
          .rank = rank,
          .channel = channel,
          .epoch = LoadRelaxed(record.epoch),
          .peer = static_cast<int>(LoadRelaxed(record.peer)),
          .as_sender = LoadRelaxed(record.as_sender) != 0,
          .info = {.fault = LoadRelaxed(record.fault),
                   .expected = LoadRelaxed(record.expected),
                   .actual = LoadRelaxed(record.actual)},
          .abort_word = LoadRelaxed(record.abort_word)};
}

// The first error that was not taken yet, and takes all there are.
std::optional<FaultReport> TakeReport(ErrorRecord& record, int rank, int channel) {
  std::atomic_ref<std::uint64_t> count(record.error_count);
  std::atomic_ref<std::uint64_t> acknowledged(record.error_acknowledged);
  if (count.load(std::memory_order_acquire) == acknowledged.load(std::memory_order_relaxed)) return std::nullopt;
  const FaultReport report = LoadReport(record, rank, channel);
  // Release: the fields have been read before the writer may fill them anew.
  acknowledged.store(count.load(std::memory_order_relaxed), std::memory_order_release);
  return report;
}

}  // namespace

void RecordError(ErrorRecord& record, const FaultReport& report) {
  std::atomic_ref<std::uint64_t> count(record.error_count);
  const std::uint64_t earlier = count.load(std::memory_order_relaxed);
  if (std::atomic_ref<std::uint64_t>(record.error_acknowledged).load(std::memory_order_acquire) == earlier) {
    StoreRelaxed(record.operation, report.operation);
    StoreRelaxed(record.epoch, report.epoch);
    StoreRelaxed(record.peer, std::int64_t{report.peer});
    StoreRelaxed(record.as_sender, std::uint64_t{report.as_sender});
    StoreRelaxed(record.fault, report.info.fault);
    StoreRelaxed(record.expected, report.info.expected);
    StoreRelaxed(record.actual, report.info.actual);
    StoreRelaxed(record.abort_word, report.abort_word);
  }
  count.store(earlier + 1, std::memory_order_release);
}

absl::Status TakeStatus(const GroupView& group, int channel) {
  if (channel < 0 || channel >= group.channel_count) {
    return absl::InvalidArgumentError(absl::StrCat("channel ", channel, " is not in [0, ", group.channel_count, ")"));
  }
  const Channel view(group, channel);
  ChannelControl& control = view.control();
  if (const auto report = TakeReport(control.error, group.rank, channel)) return ToStatus(*report);
  const std::uint64_t abort_word = std::atomic_ref<std::uint64_t>(view.abort_word()).load(std::memory_order_acquire);
  if (abort_word == 0) return absl::OkStatus();
  return ToStatus({.operation = Operation::kOneShot,
                   .rank = group.rank,
                   .channel = channel,
                   .epoch = LoadRelaxed(control.epoch),
                   .info = {.fault = Fault::kAborted},
                   .abort_word = abort_word});
}

}  // namespace a8a::kernels::host
