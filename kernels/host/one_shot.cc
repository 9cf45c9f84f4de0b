// One-shot all-to-all: credits, rows, dones; see section 4 of the design, and exchange.h for the steps.
#include "kernels/base/status_macros.h"
#include "kernels/host/copy.h"
#include "kernels/host/exchange.h"
#include "kernels/host/params.h"
#include "kernels/host/splits.h"
#include "kernels/include/host_all_to_all.h"

namespace a8a::kernels::host {

absl::Status AllToAll(const AllToAllParams& params) {
  A8A_RETURN_IF_ERROR(CheckGroup(params));
  A8A_RETURN_IF_ERROR(CheckViews(params));
  A8A_RETURN_IF_ERROR(CheckInput(params));

  Exchange exchange(params, Operation::kOneShot);
  const SplitTable input = ReadInputSplits(params);
  const SplitTable output = ReadOutputSplits(params);
  exchange.UseSplits(input, output);
  exchange.OpenCredits(output.first_row);
  const auto push = [&](int peer, const Placement& to) {
    const auto p = static_cast<std::size_t>(peer);
    return CopyRows(params.window->base[p] + to.output_offset_bytes, to.layout, to.first_row, params.input,
                    params.input_layout, input.first_row[p], exchange.sends[p].rows,
                    [&exchange] { return exchange.group_ended(); });
  };
  const auto self = static_cast<std::size_t>(params.group->rank);
  exchange.SendLocal([&](int peer, const Placement*) {
    return push(peer, {params.output_offset_bytes, params.output_layout, output.first_row[self]});
  });
  exchange.Send([&](int peer, const Placement* to) { return push(peer, *to); });
  exchange.Receive();
  return exchange.Finish();
}

}  // namespace a8a::kernels::host
