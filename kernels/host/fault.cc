#include "kernels/host/fault.h"

#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "kernels/include/control_layout.h"
#include "kernels/include/fault_class.h"
#include "kernels/include/host_all_to_all.h"

namespace a8a::kernels::host {
namespace {

const char* FaultName(Fault fault) {
  switch (fault) {
    case Fault::kNone:
      return "no fault";
    case Fault::kSplitMismatch:
      return "a split mismatch";
    case Fault::kNegativeSplit:
      return "a negative split or offset";
    case Fault::kSplitOverflow:
      return "an overflow of split and offset";
    case Fault::kBeyondInput:
      return "rows beyond the input view";
    case Fault::kBeyondWindow:
      return "rows beyond the output";
    case Fault::kOverlappingOutput:
      return "overlapping output rows";
    case Fault::kRowBytesMismatch:
      return "a mismatch of row_bytes";
    case Fault::kWindowMismatch:
      return "a window mismatch";
    case Fault::kOperationMismatch:
      return "an operation mismatch";
    case Fault::kDeadline:
      return "a passed deadline";
    case Fault::kAbandoned:
      return "a peer that had given up";
    case Fault::kAborted:
      return "an ended group";
    case Fault::kNotPrepared:
      return "a plan that is not prepared";
  }
  return "an unknown fault";
}

const char* OperationName(std::int64_t operation) {
  switch (static_cast<Operation>(operation)) {
    case Operation::kNone:
      break;
    case Operation::kOneShot:
      return "a one-shot all-to-all";
    case Operation::kPrepare:
      return "Prepare";
    case Operation::kPrepared:
      return "a prepared all-to-all";
  }
  return "an unknown operation";
}

}  // namespace

std::string DescribeEnd(std::uint64_t abort_word) {
  const int rank = AbortWordRank(abort_word);
  const std::string who = rank < 0 ? "a rank" : absl::StrCat("rank ", rank);
  switch (AbortWordReason(abort_word)) {
    case AbortReason::kRankDied:
      return absl::StrCat("the group has ended: ", who, " died");
    case AbortReason::kAbortedByRank:
      return absl::StrCat("the group has ended: ", who, " aborted it");
    case AbortReason::kRankLeft:
      return absl::StrCat("the group has ended: ", who, " left");
    case AbortReason::kRevoked:
      return absl::StrCat("the group has ended: the lease of ", who, " was revoked");
    case AbortReason::kDrained:
      return "the group has ended: the daemon drains";
  }
  return absl::StrCat("the group has ended: unknown reason ", static_cast<int>(AbortWordReason(abort_word)));
}

namespace {

// Names the rank whose splits are at fault: the reporting rank where no peer is given, else the peer. Its input splits
// are at fault where it is the sender of the pair.
std::string DescribeSplits(const FaultReport& report) {
  const bool own = report.peer < 0;
  return absl::StrCat("the ", own == report.as_sender ? "input" : "output", " splits of rank ",
                      own ? report.rank : report.peer);
}

std::string Describe(const FaultReport& report) {
  const auto [fault, expected, actual] = report.info;
  const int sender = report.as_sender ? report.rank : report.peer;
  const int receiver = report.as_sender ? report.peer : report.rank;
  const std::string from_to = absl::StrCat("from rank ", sender, " to rank ", receiver);
  switch (fault) {
    case Fault::kSplitMismatch:
      return absl::StrCat("rank ", sender, " sends ", actual, " rows to rank ", receiver, ", which expects ", expected);
    case Fault::kNegativeSplit:
      return absl::StrCat(DescribeSplits(report), " hold a negative split or offset, ", actual, " for rank ", expected);
    case Fault::kSplitOverflow:
      return absl::StrCat(DescribeSplits(report), " overflow 64 bits: offset and split for rank ", expected);
    case Fault::kBeyondInput:
      return absl::StrCat(DescribeSplits(report), " end at row ", actual, ", the input view holds ", expected);
    case Fault::kBeyondWindow:
      return absl::StrCat("the output of rank ", receiver, " ends at ", actual, ", its view or window holds ",
                          expected);
    case Fault::kOverlappingOutput:
      return absl::StrCat("rows from ranks ", expected, " and ", actual, " overlap in the output of rank ", receiver);
    case Fault::kRowBytesMismatch:
      return absl::StrCat("rank ", sender, " sends rows of ", actual, " bytes to rank ", receiver,
                          ", which expects rows of ", expected);
    case Fault::kWindowMismatch:
      return absl::StrCat("rank ", sender, " sends into window ", actual, " of rank ", receiver,
                          ", which expects rows in window ", expected);
    case Fault::kOperationMismatch:
      return absl::StrCat("rank ", sender, " runs ", OperationName(actual), ", rank ", receiver, " runs ",
                          OperationName(expected));
    case Fault::kDeadline:
      return absl::StrCat("rank ", report.rank, " waited ", expected / 1'000'000, " ms for the ",
                          report.as_sender ? "credit" : "done", " of rank ", report.peer,
                          ", whose last done is of epoch ", actual);
    case Fault::kAbandoned:
      return absl::StrCat("rank ", report.peer, " gave up this epoch before rank ", report.rank, " came, for rows ",
                          from_to);
    case Fault::kAborted:
      return DescribeEnd(report.abort_word);
    case Fault::kNotPrepared:
      return absl::StrCat("the plan has no rows ", from_to, ": Prepare found ", FaultName(static_cast<Fault>(actual)));
    case Fault::kNone:
      break;
  }
  return absl::StrCat("rank ", report.peer, " reports unknown fault ", static_cast<std::uint32_t>(fault));
}

}  // namespace

absl::StatusCode CodeOf(Fault fault) { return static_cast<absl::StatusCode>(StatusCodeOf(fault)); }

absl::Status ToStatus(const FaultReport& report) {
  const char* what = report.operation == Operation::kPrepare ? "prepare" : "all-to-all";
  return absl::Status(CodeOf(report.info.fault), absl::StrCat(what, " on channel ", report.channel, ", epoch ",
                                                              report.epoch, ": ", Describe(report)));
}

bool IsPlainer(const FaultReport& a, const FaultReport& b) {
  const auto order = [](const FaultReport& report) {
    return std::tuple(CauseClass(report.info.fault), report.peer, !report.as_sender);
  };
  return order(a) < order(b);
}

}  // namespace a8a::kernels::host
