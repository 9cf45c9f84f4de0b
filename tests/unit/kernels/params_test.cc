// What is refused before an epoch is used, through the public functions.
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "kernels/include/host_all_to_all.h"
#include "tests/unit/kernels/case_run.h"
#include "tests/unit/kernels/random_case.h"
#include "tests/unit/kernels/test_group.h"
#include "tests/unit/kernels/test_values.h"

namespace a8a::kernels::test {
namespace {

using testing::Each;
using testing::HasSubstr;

// What a refusal may change: copies, since GroupView and WindowView are borrowed by the parameters.
struct Call {
  GroupView group;
  WindowView window;
  AllToAllParams params;
};

struct Refusal {
  std::string name;
  std::function<void(Call&)> change;
  std::string message;
  bool by_input = false;  // refused for its input pointer, which Prepare does not look at
};

void PointInputAt(Call& call, int rank, std::int64_t offset) {
  call.params.input = call.window.base[static_cast<std::size_t>(rank)] + offset;
}

// Of rank 0 in a group of two, which sends 3 rows of 8 bytes and has an output view of 4 rows at byte 100.
std::vector<Refusal> Refusals() {
  return {
      {"NoGroup", [](Call& call) { call.params.group = nullptr; }, "the group is not mapped"},
      {"NoControl", [](Call& call) { call.group.control = nullptr; }, "the group is not mapped"},
      {"NoWindow", [](Call& call) { call.params.window = nullptr; }, "no window is given"},
      {"NoRank", [](Call& call) { call.group.world_size = 0; }, "world_size 0 is not in [1, 64]"},
      {"TooManyRanks", [](Call& call) { call.group.world_size = 65; }, "world_size 65 is not in [1, 64]"},
      {"RankBeyondGroup", [](Call& call) { call.group.rank = 2; }, "rank 2 is not in [0, 1]"},
      {"NegativeRank", [](Call& call) { call.group.rank = -1; }, "rank -1 is not in [0, 1]"},
      {"TooManyChannels", [](Call& call) { call.group.channel_count = 65; }, "channel_count 65 is not in [1, 64]"},
      {"ChannelBeyondGroup", [](Call& call) { call.params.channel = 2; }, "channel 2 is not in [0, 1]"},
      {"NegativeChannel", [](Call& call) { call.params.channel = -1; }, "channel -1 is not in [0, 1]"},
      {"WindowIndexBeyondLimit", [](Call& call) { call.window.window_index = 64; },
       "window index 64 is not in [0, 63]"},
      {"NegativeTimeout", [](Call& call) { call.params.timeout_ns = -1; }, "timeout_ns -1 is negative"},
      {"FlagsNotMapped", [](Call& call) { call.group.flags[1] = nullptr; },
       "the flags segment of rank 1 is not mapped"},
      {"WindowNotMapped", [](Call& call) { call.window.base[1] = nullptr; },
       "window 0: the part of rank 1 is not mapped"},
      {"WindowOfNegativeSize", [](Call& call) { call.window.size_bytes[1] = -1; },
       "window 0: the part of rank 1 has size_bytes -1"},
      {"NegativeInputSize", [](Call& call) { call.params.input_layout.inner_size = -1; },
       "input view: sizes [1, -1] and strides [0, 8] must be at least 0, row_bytes 8 at least 1"},
      {"NegativeOutputStride", [](Call& call) { call.params.output_layout.inner_stride_bytes = -8; },
       "output view: sizes [1, 4] and strides [0, -8] must be at least 0, row_bytes 8 at least 1"},
      {"NoRowBytes", [](Call& call) { call.params.input_layout.row_bytes = 0; }, "row_bytes 0 at least 1"},
      {"InputViewOverflows", [](Call& call) { call.params.input_layout.inner_stride_bytes = kMost; },
       "input view: sizes [1, 3] with strides [0, 9223372036854775807] reach beyond 1125899906842624 bytes"},
      {"InputRowCountOverflows",
       [](Call& call) {
         call.params.input_layout = {std::int64_t{1} << 32, std::int64_t{1} << 32, 0, 0, 8};
       },
       "reach beyond"},
      {"OutputViewOverflows", [](Call& call) { call.params.output_layout.inner_size = kMost; },
       "output view: sizes [1, 9223372036854775807] with strides [0, 8] reach beyond"},
      {"RowBytesDiffer",
       [](Call& call) {
         call.params.input_layout = {1, 3, 0, 16, 16};
       },
       "row_bytes of the input view, 16, and of the output view, 8, differ"},
      {"OutputBeyondWindow", [](Call& call) { call.params.output_offset_bytes = kWindowBytes - 31; },
       "output view: 32 bytes from byte 969 on are not inside window 0 of rank 0, which has 1000"},
      {"OutputBeforeWindow", [](Call& call) { call.params.output_offset_bytes = -1; },
       "output view: 32 bytes from byte -1 on are not inside window 0 of rank 0, which has 1000"},
      {"OutputOffsetOverflows", [](Call& call) { call.params.output_offset_bytes = kMost; },
       "are not inside window 0 of rank 0"},
      {"OutputRowsOverlap", [](Call& call) { call.params.output_layout.inner_stride_bytes = 7; },
       "output view: rows of 8 bytes overlap at strides [0, 7]"},
      {"NoSplits", [](Call& call) { call.params.splits.output = nullptr; }, "splits: input or output is null"},
      {"UnknownSplitType", [](Call& call) { call.params.splits.type = static_cast<IndexType>(9); },
       "splits: unknown type 9"},
      {"NullInput", [](Call& call) { call.params.input = nullptr; }, "input is null, its view has 3 rows", true},
      {"InputBeyondAddressSpace",
       [](Call& call) { call.params.input = reinterpret_cast<const std::byte*>(~std::uintptr_t{0} - 8); },
       "input view: reaches beyond the address space", true},
      {"InputOverlapsOutput", [](Call& call) { PointInputAt(call, 0, 100 - 23); },
       "input view: overlaps the output view in window 0", true},
      {"InputOverlapsEndOfOutput", [](Call& call) { PointInputAt(call, 0, 131); },
       "input view: overlaps the output view in window 0", true},
      {"InputInPeersPart", [](Call& call) { PointInputAt(call, 1, 500); },
       "input view: overlaps the part of rank 1 in window 0", true},
  };
}

class ParamsTest : public testing::Test {
 protected:
  static Case MakeCase() {
    Case a_case = MakeDenseCase({{1, 2}, {3, 4}}, 8);
    for (RankCase& rank : a_case.ranks) {
      rank.output_offset_bytes = 100;
      rank.window_bytes = kWindowBytes;
    }
    return a_case;
  }

  void Refer(Call& call) {
    call.group = group_.group(0);
    call.window = group_.window(0, 0);
    // No peer will come for what is not refused.
    call.params = run_.Params(0, 0, /*timeout_ns=*/0);
    call.params.group = &call.group;
    call.params.window = &call.window;
  }

  TestGroup group_ = TestGroup::WithWindows(2, 2, 1, kWindowBytes);
  const Case case_ = MakeCase();
  CaseRun run_{group_, case_};
};

class RefusalTest : public ParamsTest, public testing::WithParamInterface<Refusal> {};

TEST_P(RefusalTest, IsRefusedWithoutAnEpoch) {
  Call call;
  Refer(call);
  GetParam().change(call);

  const absl::Status status = host::AllToAll(call.params);

  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
  host::Plan plan;
  // What lies in the input alone is nothing to Prepare, which then waits in vain for its peers.
  if (GetParam().by_input) call.params.timeout_ns = 1'000'000;
  EXPECT_EQ(host::Prepare(call.params, &plan).ok() || GetParam().by_input, GetParam().by_input);
  EXPECT_EQ(group_.channel(0).state().epoch, GetParam().by_input ? 1u : 0u);
  EXPECT_TRUE(host::TakeStatus(group_.group(0), 0).ok() || GetParam().by_input);
}

INSTANTIATE_TEST_SUITE_P(Refusals, RefusalTest, testing::ValuesIn(Refusals()),
                         [](const auto& instance) { return instance.param.name; });

TEST_F(ParamsTest, PreparedChecksTheInputOfEachLaunch) {
  ASSERT_THAT(run_.Prepare(0), Each("OK"));
  host::Plan plan;
  group_.Run([&](int rank) {
    if (rank == 0) {
      EXPECT_TRUE(host::Prepare(run_.Params(0, 0), &plan).ok());
    } else {
      EXPECT_TRUE(run_.PrepareOn(1, 0).ok());
    }
  });
  EXPECT_THAT(host::AllToAll(plan, nullptr, 1).ToString(), HasSubstr("INVALID_ARGUMENT: input is null"));
  EXPECT_THAT(host::AllToAll(plan, group_.Part(0, 0).data() + 100, 1).ToString(),
              HasSubstr("overlaps the output view"));
  EXPECT_THAT(host::AllToAll(plan, group_.Part(0, 0).data(), -1).ToString(), HasSubstr("timeout_ns -1"));
  EXPECT_EQ(group_.channel(0).state().epoch, 2u);
}

TEST_F(ParamsTest, PrepareRefusedLeavesAPlanThatIsNotPrepared) {
  host::Plan plan;
  plan.prepared = true;
  AllToAllParams params = run_.Params(0, 0);
  params.channel = 7;
  EXPECT_EQ(host::Prepare(params, &plan).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(plan.prepared);
  EXPECT_EQ(host::Prepare(params, nullptr), absl::InvalidArgumentError("plan is null"));
}

TEST_F(ParamsTest, TakeStatusRefusesAnUnknownChannel) {
  EXPECT_EQ(host::TakeStatus(group_.group(0), 2), absl::InvalidArgumentError("channel 2 is not in [0, 2)"));
  EXPECT_EQ(host::TakeStatus(group_.group(0), -1).code(), absl::StatusCode::kInvalidArgument);
}

// Not refused: an input beside the output in the own window, and views without rows at any pointer.
TEST_F(ParamsTest, InputMayLieBesideTheOutputInItsWindow) {
  run_.Poison(0);
  group_.Run([&](int rank) {
    AllToAllParams params = run_.Params(rank, 0);
    const std::span<std::byte> part = group_.Part(rank, 0);
    for (std::int64_t i = 0; i < 56; ++i) part[static_cast<std::size_t>(i)] = InputByte(rank, 1, i);
    params.input = part.data();
    EXPECT_TRUE(host::AllToAll(params).ok());
    for (std::size_t i = 0; i < 56; ++i) part[i] = kPoison;
  });
  run_.ExpectMoved(0, 1);
}

TEST(EmptyTensorTest, ViewsWithoutRowsNeedNoMemory) {
  const Case a_case = MakeDenseCase({{0, 0}, {0, 0}}, 8);
  TestGroup group = TestGroup::WithWindows(2, 1, 1, 0);
  CaseRun run(group, a_case);
  for (const int round : {0, 1}) {
    EXPECT_THAT(run.Run([&](int rank) {
      AllToAllParams params = run.Params(rank, 0);
      params.input = nullptr;
      params.input_layout = round == 0 ? RowLayout{0, 0, 0, 0, 8} : RowLayout{0, 5, 1, 1, 8};
      return host::AllToAll(params);
    }),
                Each("OK"));
  }
  host::Plan plans[2];
  EXPECT_THAT(run.Run([&](int rank) { return host::Prepare(run.Params(rank, 0), &plans[rank]); }), Each("OK"));
  EXPECT_THAT(run.Run([&](int rank) { return host::AllToAll(plans[rank], nullptr, kLongTimeoutNs); }), Each("OK"));
}

}  // namespace
}  // namespace a8a::kernels::test
