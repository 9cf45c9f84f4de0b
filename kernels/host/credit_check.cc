#include "kernels/host/credit_check.h"

#include <limits>
#include <optional>

#include "kernels/host/row_layout.h"

namespace a8a::kernels::host {
namespace {

constexpr std::int64_t kUnrepresentable = std::numeric_limits<std::int64_t>::max();

// Bytes: the whole view must lie inside the window. Rows: the sender's must lie inside the view.
FaultInfo CheckPlacement(const Placement& placement, std::int64_t rows, std::int64_t window_size_bytes) {
  const FaultInfo unrepresentable = {Fault::kBeyondWindow, window_size_bytes, kUnrepresentable};
  if (placement.output_offset_bytes < 0 || placement.first_row < 0 || !IsWellFormed(placement.layout)) {
    return unrepresentable;
  }
  const std::optional<std::int64_t> extent = ExtentBytes(placement.layout);
  const std::optional<std::int64_t> view_rows = RowCount(placement.layout);
  std::int64_t end_bytes = 0;
  std::int64_t end_row = 0;
  if (!extent.has_value() || !view_rows.has_value() ||
      __builtin_add_overflow(placement.output_offset_bytes, *extent, &end_bytes) ||
      __builtin_add_overflow(placement.first_row, rows, &end_row)) {
    return unrepresentable;
  }
  if (end_bytes > window_size_bytes) return {Fault::kBeyondWindow, window_size_bytes, end_bytes};
  if (end_row > *view_rows) return {Fault::kBeyondWindow, *view_rows, end_row};
  return {};
}

}  // namespace

FaultInfo CheckCredit(const Credit& credit, const SendTerms& terms) {
  if (credit.operation != terms.operation) {
    return {Fault::kOperationMismatch, static_cast<std::int64_t>(credit.operation),
            static_cast<std::int64_t>(terms.operation)};
  }
  if (!credit.fault.ok()) return AsToldByPeer(credit.fault);
  if (credit.window_index != terms.window_index) {
    return {Fault::kWindowMismatch, credit.window_index, terms.window_index};
  }
  const std::int64_t row_bytes = credit.placement.layout.row_bytes;
  if (row_bytes != terms.row_bytes) return {Fault::kRowBytesMismatch, row_bytes, terms.row_bytes};
  if (credit.rows != terms.rows) return {Fault::kSplitMismatch, credit.rows, terms.rows};
  if (terms.rows == 0) return {};
  return CheckPlacement(credit.placement, terms.rows, terms.window_size_bytes);
}

FaultInfo AsToldByPeer(const FaultInfo& fault) {
  const bool gave_up = fault.fault == Fault::kDeadline || fault.fault == Fault::kAborted;
  return gave_up ? FaultInfo{Fault::kAbandoned} : fault;
}

}  // namespace a8a::kernels::host
