#include "kernels/reference/all_to_all_reference.h"

#include <algorithm>
#include <set>

namespace a8a::kernels::reference {
namespace {

// Byte positions of all rows of a view, in the order of their flat indices: found by walking, not by arithmetic on the
// index.
std::vector<std::int64_t> RowPositions(const RowLayout& layout) {
  std::vector<std::int64_t> positions;
  std::int64_t outer_position = 0;
  for (std::int64_t outer = 0; outer < layout.outer_size; ++outer) {
    std::int64_t position = outer_position;
    for (std::int64_t inner = 0; inner < layout.inner_size; ++inner) {
      positions.push_back(position);
      position += layout.inner_stride_bytes;
    }
    outer_position += layout.outer_stride_bytes;
  }
  return positions;
}

// The flat rows that one rank sends to (or expects from) each rank, one by one.
struct Side {
  bool valid = true;
  std::vector<std::vector<std::int64_t>> rows;
};

Side ListRows(const std::vector<std::int64_t>& splits, const std::vector<std::int64_t>& offsets,
              std::int64_t view_rows) {
  Side side;
  std::int64_t next = 0;
  for (std::size_t rank = 0; rank < splits.size(); ++rank) {
    std::vector<std::int64_t>& rows = side.rows.emplace_back();
    if (splits[rank] < 0 || splits[rank] > view_rows) side.valid = false;
    if (splits[rank] > 0 && !offsets.empty()) next = offsets[rank];
    if (splits[rank] > 0 && (next < 0 || next > view_rows)) side.valid = false;
    if (!side.valid) break;
    for (std::int64_t i = 0; i < splits[rank]; ++i) rows.push_back(next++);
    if (!rows.empty() && rows.back() >= view_rows) side.valid = false;
  }
  return side;
}

bool AnyRowTwice(const Side& side) {
  std::set<std::int64_t> seen;
  for (const auto& rows : side.rows) {
    for (const std::int64_t row : rows) {
      if (!seen.insert(row).second) return true;
    }
  }
  return false;
}

// A rank's data, unfolded.
struct Unfolded {
  Side sends;
  Side receives;
  std::vector<std::int64_t> input_positions;
  std::vector<std::int64_t> output_positions;
};

Unfolded Unfold(const RankData& rank) {
  Unfolded unfolded;
  unfolded.input_positions = RowPositions(rank.input_layout);
  unfolded.output_positions = RowPositions(rank.output_layout);
  unfolded.sends =
      ListRows(rank.input_splits, rank.input_offsets, static_cast<std::int64_t>(unfolded.input_positions.size()));
  unfolded.receives =
      ListRows(rank.output_splits, rank.output_offsets, static_cast<std::int64_t>(unfolded.output_positions.size()));
  if (unfolded.receives.valid && AnyRowTwice(unfolded.receives)) unfolded.receives.valid = false;
  return unfolded;
}

void MoveRow(const RankData& sender, std::int64_t from, RankData& receiver, std::int64_t to) {
  for (std::int64_t byte = 0; byte < sender.input_layout.row_bytes; ++byte) {
    receiver.output[static_cast<std::size_t>(receiver.output_offset_bytes + to + byte)] =
        sender.input[static_cast<std::size_t>(from + byte)];
  }
}

}  // namespace

std::vector<std::vector<PairVerdict>> AllToAll(std::span<RankData> ranks) {
  std::vector<Unfolded> unfolded;
  for (const RankData& rank : ranks) unfolded.push_back(Unfold(rank));
  std::vector<std::vector<PairVerdict>> verdicts(ranks.size(), std::vector<PairVerdict>(ranks.size()));
  for (std::size_t s = 0; s < ranks.size(); ++s) {
    for (std::size_t d = 0; d < ranks.size(); ++d) {
      PairVerdict& verdict = verdicts[s][d];
      const Unfolded& from = unfolded[s];
      const Unfolded& to = unfolded[d];
      if (!from.sends.valid) {
        verdict = PairVerdict::kSenderInvalid;
      } else if (!to.receives.valid) {
        verdict = PairVerdict::kReceiverInvalid;
      } else if (ranks[s].input_layout.row_bytes != ranks[d].output_layout.row_bytes) {
        verdict = PairVerdict::kRowBytesDiffer;
      } else if (from.sends.rows[d].size() != to.receives.rows[s].size()) {
        verdict = PairVerdict::kSplitsDiffer;
      } else {
        verdict = PairVerdict::kMoved;
        for (std::size_t i = 0; i < from.sends.rows[d].size(); ++i) {
          MoveRow(ranks[s], from.input_positions[static_cast<std::size_t>(from.sends.rows[d][i])], ranks[d],
                  to.output_positions[static_cast<std::size_t>(to.receives.rows[s][i])]);
        }
      }
    }
  }
  return verdicts;
}

}  // namespace a8a::kernels::reference
