#include "kernels/host/exchange.h"

#include <algorithm>
#include <atomic>

#include "kernels/base/index.h"
#include "kernels/host/credit_check.h"
#include "kernels/host/doorbell.h"
#include "kernels/host/error_record.h"
#include "kernels/include/host_all_to_all.h"

namespace a8a::kernels::host {
namespace {

// A peer is woken at once after a copy of this many bytes, about a microsecond; else with the others of its sweep,
// which costs one fence for all.
constexpr std::int64_t kRingAtOnceBytes = 16384;

// The owner's own words; atomic because a peer that has gone wrong can write them too.
template <typename T>
std::atomic_ref<T> Own(T& word) {
  return std::atomic_ref<T>(word);
}

std::uint64_t NextEpoch(const Channel& channel) {
  const auto epoch = Own(channel.state().epoch).load(std::memory_order_relaxed) + 1;
  Own(channel.state().epoch).store(epoch, std::memory_order_relaxed);
  Own(channel.control().epoch).store(epoch, std::memory_order_relaxed);
  return epoch;
}

// Notes which window this epoch writes; whether it needs credits.
bool EnterWindow(const Channel& channel, Operation operation, int window_index) {
  if (operation == Operation::kPrepare) return true;
  const std::int64_t window_plus1 = window_index + 1;
  const auto last = Own(channel.state().last_window_plus1).exchange(window_plus1, std::memory_order_relaxed);
  return operation == Operation::kOneShot || last == window_plus1;
}

}  // namespace

Exchange::Exchange(const AllToAllParams& params, Operation operation)
    : params_(params),
      operation_(operation),
      channel_(*params.group, params.channel),
      epoch_(NextEpoch(channel_)),
      takes_credits_(EnterWindow(channel_, operation, params.window->window_index)),
      waiter_(channel_, params.timeout_ns) {
  moved_.row_bytes = params.output_layout.row_bytes;
  if (group_ended()) NoteAborted();
  if (stopped_by_ == Fault::kNone) Settle();
}

void Exchange::Settle() {
  const std::uint64_t unsettled = Own(channel_.state().unsettled_epoch).load(std::memory_order_relaxed);
  if (unsettled == 0) return;
  Ranks pending = AllPeers();
  const Fault fault = Drive(pending, [&](int peer) {
    return !IsClaimed(channel_.CreditTo(peer, unsettled), unsettled) ||
           DoneEpoch(channel_.DoneFrom(peer, unsettled)) >= unsettled;
  });
  if (fault == Fault::kAborted) return NoteAborted();
  if (fault == Fault::kNone) return Own(channel_.state().unsettled_epoch).store(0, std::memory_order_relaxed);
  stopped_by_ = fault;
  Sweep(pending, [&](int peer) {
    Note(peer, /*as_sender=*/false, DeadlineOf(peer));
    return true;
  });
}

void Exchange::UseSplits(const SplitTable& input, const SplitTable& output) {
  for (std::size_t rank = 0; rank < Index(channel_.world_size()); ++rank) {
    sends[rank] = {.fault = input.fault, .rows = input.fault.ok() ? input.rows[rank] : 0};
    receives[rank] = {.fault = output.fault, .rows = output.fault.ok() ? output.rows[rank] : 0};
  }
  if (!input.fault.ok()) Note(/*peer=*/-1, /*as_sender=*/true, input.fault);
  if (!output.fault.ok()) Note(/*peer=*/-1, /*as_sender=*/false, output.fault);
}

Exchange::Ranks Exchange::AllPeers() const {
  Ranks peers;
  for (int peer = 0; peer < channel_.world_size(); ++peer) peers.set(Index(peer), peer != channel_.rank());
  return peers;
}

bool Exchange::Sweep(Ranks& pending, absl::FunctionRef<bool(int peer)> step) const {
  bool progress = false;
  const int world_size = channel_.world_size();
  for (int distance = 1; distance < world_size; ++distance) {
    const int peer = (channel_.rank() + distance) % world_size;
    if (!pending.test(Index(peer)) || !step(peer)) continue;
    pending.reset(Index(peer));
    progress = true;
  }
  return progress;
}

Fault Exchange::Drive(Ranks& pending, absl::FunctionRef<bool(int peer)> step) {
  bool looked_again = false;
  while (true) {
    const bool progress = Sweep(pending, step);
    RingUnrung();
    if (pending.none()) return Fault::kNone;
    if (progress) {
      waiter_.Progress();
      looked_again = false;
    } else if (SomeoneLeft(pending)) {
      // It may have said what is awaited just before it left: one more look decides.
      if (looked_again) return Fault::kAborted;
      looked_again = true;
    } else if (const Fault fault = waiter_.Pause(); fault != Fault::kNone) {
      return fault;
    }
  }
}

bool Exchange::SomeoneLeft(const Ranks& pending) {
  const Ranks left = pending & Ranks(Own(channel_.left_mask()).load(std::memory_order_acquire));
  if (left.none()) return false;
  int rank = 0;
  while (!left.test(Index(rank))) ++rank;
  left_word_ = MakeAbortWord(AbortReason::kRankLeft, rank);
  return true;
}

void Exchange::OpenCredits(const std::array<std::int64_t, kMaxWorldSize>& first_rows) {
  if (stopped_by_ != Fault::kNone) return;
  Ranks peers = AllPeers();
  Sweep(peers, [&](int peer) {
    const Transfer& receive = receives[Index(peer)];
    PublishCredit(channel_.CreditTo(peer, epoch_), epoch_,
                  {.operation = operation_,
                   .fault = receive.fault,
                   .window_index = params_.window->window_index,
                   .placement = {params_.output_offset_bytes, params_.output_layout, first_rows[Index(peer)]},
                   .rows = receive.rows});
    return true;
  });
  unrung_ = AllPeers();
  RingUnrung();
}

void Exchange::SendLocal(Push push) {
  const int self = channel_.rank();
  Transfer& send = sends[Index(self)];
  Transfer& receive = receives[Index(self)];
  if (stopped_by_ != Fault::kNone || !send.fault.ok() || !receive.fault.ok()) return;
  if (send.rows != receive.rows) {
    send.fault = {Fault::kSplitMismatch, receive.rows, send.rows};
    return FailReceive(self, send.fault);
  }
  if (!push(self, nullptr)) return NoteAborted();
  moved_.rows_sent += send.rows;
  moved_.rows_received += receive.rows;
}

void Exchange::Send(Push push) {
  if (stopped_by_ != Fault::kNone) return;
  Ranks pending = AllPeers();
  const Fault fault = Drive(pending, [&](int peer) { return TrySend(peer, push); });
  if (takes_credits_) CountWait(channel_.control().credit_wait, waiter_.TakeWaitedNs());
  if (fault == Fault::kAborted) return NoteAborted();
  // The deadline. Late peers find out that nothing will come.
  Sweep(pending, [&](int peer) {
    FailSend(peer, DeadlineOf(peer));
    return true;
  });
  RingUnrung();
}

bool Exchange::TrySend(int peer, Push push) {
  if (group_ended()) return false;
  const Transfer& send = sends[Index(peer)];
  if (!send.fault.ok()) {
    SayDone(peer, send.fault, 0);
    return true;
  }
  const Turn turn = TakeTurn(peer);
  if (turn.state == CellState::kNotYet) return false;
  if (const FaultInfo fault = CheckTurn(peer, turn); !fault.ok()) {
    FailSend(peer, fault);
    return true;
  }
  if (!push(peer, turn.credit.has_value() ? &turn.credit->placement : nullptr)) return false;
  moved_.rows_sent += send.rows;
  SayDone(peer, {}, send.rows);
  return true;
}

Exchange::Turn Exchange::TakeTurn(int peer) {
  const Turn turn = LookForCredit(peer);
  if (turn.state != CellState::kNotYet) return turn;
  return takes_credits_ ? TurnOfSilentPeer(peer) : TurnWithoutCredit(peer);
}

Exchange::Turn Exchange::LookForCredit(int peer) {
  Credit credit;
  const CellState state = TakeCredit(channel_.CreditFrom(peer, epoch_), epoch_, &credit);
  if (state != CellState::kReached) return {.state = state};
  return {.state = state, .credit = credit};
}

Exchange::Turn Exchange::TurnOfSilentPeer(int peer) {
  Done done;
  const CellState state = ReadDone(channel_.DoneFrom(peer, epoch_), epoch_, &done);
  if (state == CellState::kNotYet) return {};
  // A peer opens its credits before it says done: if there is one for this epoch, it is seen now.
  const Turn turn = LookForCredit(peer);
  if (turn.state != CellState::kNotYet) return turn;
  if (state == CellState::kPassed) return {.state = CellState::kPassed};
  // It gives none. In a prepared all-to-all that is as good: it has started this epoch, so it has read its outputs.
  if (operation_ == Operation::kPrepared && done.operation == Operation::kPrepared) {
    return {.state = ClaimWithoutCredit(channel_.CreditFrom(peer, epoch_), epoch_)};
  }
  return {.state = CellState::kReached,
          .fault = {Fault::kOperationMismatch, static_cast<std::int64_t>(done.operation),
                    static_cast<std::int64_t>(operation_)}};
}

Exchange::Turn Exchange::TurnWithoutCredit(int peer) {
  // Without the peer's done of the last epoch, which only a deadline can have left behind, it may still read the
  // output of the epoch before, in the window that these rows go to.
  const bool peer_is_behind = DoneEpoch(channel_.DoneFrom(peer, epoch_ - 1)) < epoch_ - 1;
  if (peer_is_behind && sends[Index(peer)].rows > 0) return {};
  return {.state = ClaimWithoutCredit(channel_.CreditFrom(peer, epoch_), epoch_)};
}

FaultInfo Exchange::CheckTurn(int peer, const Turn& turn) const {
  if (turn.state == CellState::kPassed) return {Fault::kAbandoned};
  if (!turn.fault.ok() || !turn.credit.has_value()) return turn.fault;
  return CheckCredit(*turn.credit, {.operation = operation_,
                                    .window_index = params_.window->window_index,
                                    .window_size_bytes = params_.window->size_bytes[Index(peer)],
                                    .row_bytes = params_.input_layout.row_bytes,
                                    .rows = sends[Index(peer)].rows});
}

void Exchange::Receive() {
  Ranks pending = AllPeers();
  const auto step = [this](int peer) { return TryReceive(peer); };
  if (stopped_by_ == Fault::kDeadline) return;
  Fault fault = stopped_by_ == Fault::kAborted ? Fault::kAborted : Drive(pending, step);
  if (fault == Fault::kDeadline) {
    RevokeCredits(pending);
    waiter_.Extend(kClaimGraceNs);
    fault = Drive(pending, step);
    if (fault == Fault::kDeadline) Own(channel_.state().unsettled_epoch).store(epoch_, std::memory_order_relaxed);
  }
  if (fault == Fault::kAborted) return NoteAborted();
  CountWait(channel_.control().done_wait, waiter_.TakeWaitedNs());
  Sweep(pending, [&](int peer) {
    FailReceive(peer, DeadlineOf(peer));
    return true;
  });
}

bool Exchange::TryReceive(int peer) {
  Done done;
  const CellState state = ReadDone(channel_.DoneFrom(peer, epoch_), epoch_, &done);
  if (state == CellState::kNotYet) return false;
  const FaultInfo fault = state == CellState::kPassed ? FaultInfo{Fault::kAbandoned} : CheckDone(peer, done);
  if (!fault.ok()) {
    FailReceive(peer, fault);
  } else if (receives[Index(peer)].fault.ok()) {
    moved_.rows_received += done.rows;
  }
  return true;
}

FaultInfo Exchange::CheckDone(int peer, const Done& done) const {
  const Transfer& receive = receives[Index(peer)];
  if (!receive.fault.ok()) return {};  // refused: told already
  if (done.operation != operation_) {
    return {Fault::kOperationMismatch, static_cast<std::int64_t>(operation_),
            static_cast<std::int64_t>(done.operation)};
  }
  if (!done.fault.ok()) return AsToldByPeer(done.fault);
  if (done.rows != receive.rows) return {Fault::kSplitMismatch, receive.rows, done.rows};
  return {};
}

void Exchange::RevokeCredits(Ranks& pending) {
  Sweep(pending, [this](int peer) {
    if (!RevokeCredit(channel_.CreditTo(peer, epoch_), epoch_)) return false;
    FailReceive(peer, DeadlineOf(peer));
    return true;
  });
}

void Exchange::FailSend(int peer, const FaultInfo& fault) {
  sends[Index(peer)].fault = fault;
  Note(peer, /*as_sender=*/true, fault);
  SayDone(peer, fault, 0);
}

// Nothing is published: the sender knows, or finds out by its ticket.
void Exchange::FailReceive(int peer, const FaultInfo& fault) {
  Transfer& receive = receives[Index(peer)];
  if (!receive.fault.ok()) return;  // refused: told already
  receive.fault = fault;
  Note(peer, /*as_sender=*/false, fault);
}

FaultInfo Exchange::DeadlineOf(int peer) const {
  const std::uint64_t last_epoch = std::max(DoneEpoch(channel_.DoneFrom(peer, epoch_ - 1)),  //
                                            DoneEpoch(channel_.DoneFrom(peer, epoch_)));
  return {Fault::kDeadline, params_.timeout_ns, static_cast<std::int64_t>(last_epoch)};
}

void Exchange::SayDone(int peer, const FaultInfo& fault, std::int64_t rows) {
  PublishDone(channel_.DoneTo(peer, epoch_), epoch_, {.operation = operation_, .fault = fault, .rows = rows});
  unrung_.set(Index(peer));
  if (rows * moved_.row_bytes >= kRingAtOnceBytes) RingUnrung();
}

void Exchange::RingUnrung() {
  if (unrung_.none()) return;
  FullFence();
  Sweep(unrung_, [this](int peer) {
    RingDoorbell(channel_.DoorbellOf(peer));
    return true;
  });
}

std::uint64_t Exchange::EndWord() const {
  const std::uint64_t abort_word = waiter_.abort_word();
  return abort_word != 0 ? abort_word : left_word_;
}

void Exchange::NoteAborted() {
  stopped_by_ = Fault::kAborted;
  Note(/*peer=*/-1, /*as_sender=*/false, {.fault = Fault::kAborted});
}

void Exchange::Note(int peer, bool as_sender, const FaultInfo& info) {
  const FaultReport report = {.operation = operation_,
                              .rank = channel_.rank(),
                              .channel = channel_.index(),
                              .epoch = epoch_,
                              .peer = peer,
                              .as_sender = as_sender,
                              .info = info,
                              .abort_word = info.fault == Fault::kAborted ? EndWord() : 0};
  if (!report_.has_value() || IsPlainer(report, *report_)) report_ = report;
}

absl::Status Exchange::Finish() {
  if (operation_ == Operation::kPrepare) {
    CountPrepare(channel_);
  } else {
    CountAllToAll(channel_, params_.window->window_index, moved_);
  }
  if (!report_.has_value()) return absl::OkStatus();
  // Peers that have seen the group's end give up, and this rank may see that before it has looked at the abort word.
  if (group_ended()) NoteAborted();
  RecordError(channel_.control().error, *report_);
  CountError(channel_, CodeOf(report_->info.fault));
  return ToStatus(*report_);
}

}  // namespace a8a::kernels::host
