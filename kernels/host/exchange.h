// One epoch of one rank on one channel: the part of the protocol that one-shot, Prepare and prepared all-to-alls share.
//
//   Exchange exchange(params, operation);     // takes the epoch
//   exchange.UseSplits(input, output);        // or fill `sends` and `receives`
//   exchange.OpenCredits(first_rows);         // where this rank gives credits
//   exchange.SendLocal(push);                 // the rank's own rows
//   exchange.Send(push);                      // to whichever peer is ready, until all are served
//   exchange.Receive();                       // done of all peers
//   return exchange.Finish();                 // counters, ErrorRecord, status
//
// Once the group has ended, every step returns at once; a copy is given up.
#ifndef A8A_KERNELS_HOST_EXCHANGE_H_
#define A8A_KERNELS_HOST_EXCHANGE_H_

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "kernels/host/cells.h"
#include "kernels/host/channel.h"
#include "kernels/host/counters.h"
#include "kernels/host/fault.h"
#include "kernels/host/splits.h"
#include "kernels/host/wait.h"
#include "kernels/include/all_to_all.h"

namespace a8a::kernels::host {

// One direction of one pair.
struct Transfer {
  FaultInfo fault;  // known before the exchange: nothing moves, and the peer is told
  std::int64_t rows = 0;
};

class Exchange {
 public:
  // Moves this rank's rows for `peer`, whose credit names the place; null where no credit is needed. False: given up,
  // since the group has ended.
  using Push = absl::FunctionRef<bool(int peer, const Placement* placement)>;

  // Requires: checked parameters (params.h), which outlive this.
  Exchange(const AllToAllParams& params, Operation operation);

  // Whether this epoch gives and takes credits: always, except for a prepared all-to-all into another window than the
  // channel's last all-to-all.
  [[nodiscard]] bool takes_credits() const { return takes_credits_; }

  // Fills `sends` and `receives`. A fault in either table concerns all pairs on that side.
  void UseSplits(const SplitTable& input, const SplitTable& output);

  // Whether the group has ended: a copy need not be carried on.
  [[nodiscard]] bool group_ended() const { return waiter_.abort_word() != 0; }

  // What ended the exchange for all pairs: kAborted (the group has ended), kDeadline (see Settle), or kNone.
  [[nodiscard]] Fault stopped_by() const { return stopped_by_; }

  // A fault that is known before the exchange: of one pair, or (peer -1) of this rank's own splits.
  void Note(int peer, bool as_sender, const FaultInfo& info);

  // first_rows[p]: where the rows of rank p start in the own output view.
  void OpenCredits(const std::array<std::int64_t, kMaxWorldSize>& first_rows);
  void SendLocal(Push push);
  void Send(Push push);
  void Receive();
  [[nodiscard]] absl::Status Finish();

  std::array<Transfer, kMaxWorldSize> sends;
  std::array<Transfer, kMaxWorldSize> receives;

 private:
  using Ranks = std::bitset<kMaxWorldSize>;

  // What became of the wait for a peer's credit, or for its readiness where it gives none.
  struct Turn {
    CellState state = CellState::kNotYet;
    std::optional<Credit> credit = std::nullopt;
    FaultInfo fault = {};
  };

  [[nodiscard]] Ranks AllPeers() const;
  // Calls step(peer) for every peer of `pending`, from the own rank + 1 on, and removes those for which it is true,
  // until none is left (kNone) or the wait ends (kDeadline, kAborted).
  Fault Drive(Ranks& pending, absl::FunctionRef<bool(int peer)> step);
  bool Sweep(Ranks& pending, absl::FunctionRef<bool(int peer)> step) const;
  // Whether one of `pending` has left the group: it has said all that it will ever say. Notes who.
  bool SomeoneLeft(const Ranks& pending);

  // Waits until peers whose copy was given up in an earlier epoch have ended it: rows of this epoch could be
  // overwritten by theirs. Says nothing to anybody until then, as a rank that has not come; so after a deadline, too.
  void Settle();

  // The two steps: true once the peer is served.
  bool TrySend(int peer, Push push);
  bool TryReceive(int peer);

  [[nodiscard]] Turn TakeTurn(int peer);
  [[nodiscard]] Turn LookForCredit(int peer);
  // In an epoch with credits: whether the peer gives none, and what follows.
  [[nodiscard]] Turn TurnOfSilentPeer(int peer);
  // In an epoch without credits.
  [[nodiscard]] Turn TurnWithoutCredit(int peer);
  [[nodiscard]] FaultInfo CheckTurn(int peer, const Turn& turn) const;
  [[nodiscard]] FaultInfo CheckDone(int peer, const Done& done) const;
  void FailSend(int peer, const FaultInfo& fault);
  void FailReceive(int peer, const FaultInfo& fault);
  // Takes the credits of `pending` back; what remains are peers that have claimed theirs.
  void RevokeCredits(Ranks& pending);
  [[nodiscard]] FaultInfo DeadlineOf(int peer) const;

  void SayDone(int peer, const FaultInfo& fault, std::int64_t rows);
  void RingUnrung();
  void NoteAborted();
  // Why the group has ended, for this exchange.
  [[nodiscard]] std::uint64_t EndWord() const;

  const AllToAllParams& params_;
  const Operation operation_;
  const Channel channel_;
  std::uint64_t epoch_;
  bool takes_credits_;
  Fault stopped_by_ = Fault::kNone;
  std::uint64_t left_word_ = 0;  // who has left, as an abort word, where that ended a wait
  Waiter waiter_;
  Ranks unrung_;  // peers that were told something since their doorbell was looked at
  Moved moved_;
  std::optional<FaultReport> report_;
};

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_EXCHANGE_H_
