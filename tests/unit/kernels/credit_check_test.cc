#include "kernels/host/credit_check.h"

#include <functional>
#include <limits>

#include "gtest/gtest.h"
#include "tests/unit/kernels/test_values.h"

namespace a8a::kernels::host {
namespace {

constexpr std::int64_t kLeast = std::numeric_limits<std::int64_t>::min();

constexpr SendTerms kTerms = {
    .operation = Operation::kOneShot, .window_index = 3, .window_size_bytes = 1000, .row_bytes = 10, .rows = 20};

// Fits kTerms: 5 x 10 rows of 10 bytes in bytes [490, 990), the sender's being the last 20.
Credit GoodCredit() {
  return {.operation = Operation::kOneShot,
          .fault = {},
          .window_index = 3,
          .placement = {.output_offset_bytes = 490, .layout = {5, 10, 100, 10, 10}, .first_row = 30},
          .rows = 20};
}

FaultInfo CheckAfter(const std::function<void(Credit&)>& change) {
  Credit credit = GoodCredit();
  change(credit);
  return CheckCredit(credit, kTerms);
}

void ExpectFault(const FaultInfo& info, Fault fault, std::int64_t expected, std::int64_t actual) {
  EXPECT_EQ(info.fault, fault);
  EXPECT_EQ(info.expected, expected);
  EXPECT_EQ(info.actual, actual);
}

TEST(CreditCheckTest, FittingCreditPasses) {
  EXPECT_TRUE(CheckAfter([](Credit&) {}).ok());
  EXPECT_TRUE(CheckAfter([](Credit& credit) { credit.placement.output_offset_bytes = 500; }).ok());
}

TEST(CreditCheckTest, DisagreementNamesBothValues) {
  ExpectFault(CheckAfter([](Credit& credit) { credit.operation = Operation::kPrepare; }), Fault::kOperationMismatch,
              static_cast<int>(Operation::kPrepare), static_cast<int>(Operation::kOneShot));
  ExpectFault(CheckAfter([](Credit& credit) { credit.window_index = 4; }), Fault::kWindowMismatch, 4, 3);
  ExpectFault(CheckAfter([](Credit& credit) { credit.placement.layout.row_bytes = 9; }), Fault::kRowBytesMismatch, 9,
              10);
  ExpectFault(CheckAfter([](Credit& credit) { credit.rows = 19; }), Fault::kSplitMismatch, 19, 20);
}

TEST(CreditCheckTest, RefusalIsPassedOn) {
  ExpectFault(CheckAfter([](Credit& credit) {
                credit.fault = {Fault::kNegativeSplit, 2, -1};
              }),
              Fault::kNegativeSplit, 2, -1);
}

TEST(CreditCheckTest, ViewMustLieInTheWindow) {
  ExpectFault(CheckAfter([](Credit& credit) { credit.placement.output_offset_bytes = 501; }), Fault::kBeyondWindow,
              1000, 1001);
  ExpectFault(CheckAfter([](Credit& credit) { credit.placement.layout.outer_size = 6; }), Fault::kBeyondWindow, 1000,
              1090);
}

TEST(CreditCheckTest, RowsMustLieInTheView) {
  ExpectFault(CheckAfter([](Credit& credit) { credit.placement.first_row = 31; }), Fault::kBeyondWindow, 50, 51);
  ExpectFault(CheckAfter([](Credit& credit) { credit.placement.layout.outer_size = 0; }), Fault::kBeyondWindow, 0, 50);
}

// Every field at every extreme: refused, and no arithmetic overflows on the way (UndefinedBehaviorSanitizer watches).
TEST(CreditCheckTest, WildValuesAreRefused) {
  using Field = std::function<std::int64_t&(Credit&)>;
  const Field fields[] = {
      [](Credit& credit) -> std::int64_t& { return credit.placement.output_offset_bytes; },
      [](Credit& credit) -> std::int64_t& { return credit.placement.first_row; },
      [](Credit& credit) -> std::int64_t& { return credit.placement.layout.outer_size; },
      [](Credit& credit) -> std::int64_t& { return credit.placement.layout.inner_size; },
      [](Credit& credit) -> std::int64_t& { return credit.placement.layout.outer_stride_bytes; },
      [](Credit& credit) -> std::int64_t& { return credit.placement.layout.inner_stride_bytes; },
      [](Credit& credit) -> std::int64_t& { return credit.placement.layout.row_bytes; },
      [](Credit& credit) -> std::int64_t& { return credit.rows; },
      [](Credit& credit) -> std::int64_t& { return credit.window_index; },
  };
  for (const Field& field : fields) {
    for (const std::int64_t value : {kLeast, kLeast + 1, std::int64_t{-1}, kMost / 2, kMost - 1, kMost}) {
      EXPECT_FALSE(CheckAfter([&](Credit& credit) { field(credit) = value; }).ok())
          << "field " << &field - fields << ", value " << value;
    }
  }
}

TEST(CreditCheckTest, PlacementOfNoRowsDoesNotMatter) {
  Credit credit = GoodCredit();
  credit.rows = 0;
  credit.placement.output_offset_bytes = kMost;
  SendTerms terms = kTerms;
  terms.rows = 0;
  EXPECT_TRUE(CheckCredit(credit, terms).ok());
}

TEST(CreditCheckTest, PeerThatGaveUpHasAbandoned) {
  EXPECT_EQ(AsToldByPeer({Fault::kDeadline, 1, 2}).fault, Fault::kAbandoned);
  EXPECT_EQ(AsToldByPeer({Fault::kAborted}).fault, Fault::kAbandoned);
  EXPECT_EQ(AsToldByPeer({Fault::kSplitMismatch, 1, 2}).fault, Fault::kSplitMismatch);
}

}  // namespace
}  // namespace a8a::kernels::host
