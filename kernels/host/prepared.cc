// Prepare, and all-to-alls by its plan; see section 4 of the design, and exchange.h for the steps.
#include "absl/strings/str_cat.h"
#include "kernels/base/index.h"
#include "kernels/base/status_macros.h"
#include "kernels/host/copy.h"
#include "kernels/host/exchange.h"
#include "kernels/host/params.h"
#include "kernels/host/splits.h"
#include "kernels/include/host_all_to_all.h"

namespace a8a::kernels::host {
namespace {

void SetPlacement(PairPlan& pair, const Placement& placement) {
  pair.peer_output_offset_bytes = placement.output_offset_bytes;
  pair.peer_layout = placement.layout;
  pair.peer_first_row = placement.first_row;
}

Placement PlacementOf(const PairPlan& pair) {
  return {pair.peer_output_offset_bytes, pair.peer_layout, pair.peer_first_row};
}

// What the exchange found out, apart from the placements, which the plan has already. A pair is cleared only by an
// exchange that went through.
void FillPlan(const Exchange& exchange, const SplitTable& input, const SplitTable& output, Plan* plan) {
  const Fault stopped_by = exchange.stopped_by();
  for (std::size_t rank = 0; rank < Index(plan->params.group->world_size); ++rank) {
    PairPlan& pair = plan->pairs[rank];
    pair.send_fault = stopped_by != Fault::kNone ? stopped_by : exchange.sends[rank].fault.fault;
    pair.send_first_row = input.first_row[rank];
    pair.send_rows = exchange.sends[rank].rows;
    pair.receive_fault = stopped_by != Fault::kNone ? stopped_by : exchange.receives[rank].fault.fault;
    pair.receive_first_row = output.first_row[rank];
    pair.receive_rows = exchange.receives[rank].rows;
  }
  plan->prepared = true;
}

FaultInfo NotPrepared(Fault fault) {
  if (fault == Fault::kNone) return {};
  return {Fault::kNotPrepared, /*expected=*/0, /*actual=*/static_cast<std::int64_t>(fault)};
}

// Pairs that Prepare has not cleared fail again.
void UsePlan(const Plan& plan, Exchange* exchange) {
  for (int rank = 0; rank < plan.params.group->world_size; ++rank) {
    const PairPlan& pair = plan.pairs[Index(rank)];
    Transfer& send = exchange->sends[Index(rank)];
    Transfer& receive = exchange->receives[Index(rank)];
    send = {.fault = NotPrepared(pair.send_fault), .rows = pair.send_rows};
    receive = {.fault = NotPrepared(pair.receive_fault), .rows = pair.receive_rows};
    if (!send.fault.ok()) exchange->Note(rank, /*as_sender=*/true, send.fault);
    if (!receive.fault.ok()) exchange->Note(rank, /*as_sender=*/false, receive.fault);
  }
}

std::array<std::int64_t, kMaxWorldSize> ReceiveFirstRows(const Plan& plan) {
  std::array<std::int64_t, kMaxWorldSize> first_rows;
  for (std::size_t rank = 0; rank < first_rows.size(); ++rank) first_rows[rank] = plan.pairs[rank].receive_first_row;
  return first_rows;
}

}  // namespace

absl::Status Prepare(const AllToAllParams& params, Plan* plan) {
  if (plan == nullptr) return absl::InvalidArgumentError("plan is null");
  plan->prepared = false;
  A8A_RETURN_IF_ERROR(CheckGroup(params));
  A8A_RETURN_IF_ERROR(CheckViews(params));

  *plan = Plan{.params = params, .pairs = {}};
  Exchange exchange(params, Operation::kPrepare);
  const SplitTable input = ReadInputSplits(params);
  const SplitTable output = ReadOutputSplits(params);
  exchange.UseSplits(input, output);
  exchange.OpenCredits(output.first_row);
  exchange.SendLocal([&](int self, const Placement*) {
    SetPlacement(plan->pairs[Index(self)],
                 {params.output_offset_bytes, params.output_layout, output.first_row[Index(self)]});
    return true;
  });
  exchange.Send([&](int peer, const Placement* to) {
    SetPlacement(plan->pairs[Index(peer)], *to);
    return true;
  });
  exchange.Receive();
  FillPlan(exchange, input, output, plan);
  return exchange.Finish();
}

absl::Status AllToAll(const Plan& plan, const std::byte* input, std::int64_t timeout_ns) {
  if (!plan.prepared) return absl::FailedPreconditionError("the plan has not been prepared");
  AllToAllParams params = plan.params;
  params.input = input;
  params.timeout_ns = timeout_ns;
  A8A_RETURN_IF_ERROR(CheckGroup(params));
  A8A_RETURN_IF_ERROR(CheckInput(params));

  Exchange exchange(params, Operation::kPrepared);
  UsePlan(plan, &exchange);
  if (exchange.takes_credits()) exchange.OpenCredits(ReceiveFirstRows(plan));
  const auto push = [&](int peer, const Placement* given) {
    const PairPlan& pair = plan.pairs[Index(peer)];
    // A credit names the place anew; it is the same unless the ranks use different plans.
    const Placement to = given != nullptr ? *given : PlacementOf(pair);
    return CopyRows(params.window->base[Index(peer)] + to.output_offset_bytes, to.layout, to.first_row, params.input,
                    params.input_layout, pair.send_first_row, pair.send_rows,
                    [&exchange] { return exchange.group_ended(); });
  };
  exchange.SendLocal(push);
  exchange.Send(push);
  exchange.Receive();
  return exchange.Finish();
}

}  // namespace a8a::kernels::host
