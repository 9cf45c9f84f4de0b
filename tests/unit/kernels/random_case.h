// Random all-to-alls: splits, views, offsets and row sizes of all ranks, with what the oracle expects of them.
#ifndef A8A_TESTS_UNIT_KERNELS_RANDOM_CASE_H_
#define A8A_TESTS_UNIT_KERNELS_RANDOM_CASE_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kernels/include/all_to_all.h"
#include "kernels/reference/all_to_all_reference.h"
#include "tests/unit/kernels/test_group.h"

namespace a8a::kernels::test {

using Random = std::mt19937_64;

// From A8A_TEST_SEED if set, else fresh. Print it where a test fails.
std::uint64_t TestSeed();

std::int64_t Uniform(Random& random, std::int64_t low, std::int64_t high);

// Integers as a launch reads them: of either type, at any alignment.
class IndexArray {
 public:
  IndexArray() = default;
  // `misalign_bytes` in [0, 8): of the array from a multiple of 8.
  IndexArray(const std::vector<std::int64_t>& values, IndexType type, std::size_t misalign_bytes = 0);
  // Null for an empty array.
  [[nodiscard]] const void* data() const;

 private:
  std::vector<std::byte> bytes_;
  std::size_t misalign_bytes_ = 0;
};

// One rank's part of a case. Fields may be changed after generation; arrays are made by MakeParams.
struct RankCase {
  RowLayout input_layout;
  std::int64_t output_offset_bytes = 0;
  RowLayout output_layout;
  std::vector<std::int64_t> input_splits;
  std::vector<std::int64_t> input_offsets;  // empty: null
  std::vector<std::int64_t> output_splits;
  std::vector<std::int64_t> output_offsets;
  IndexType index_type = IndexType::kInt32;
  std::int64_t window_bytes = 0;
  std::size_t misalign_bytes = 0;  // of the input
};

struct Case {
  std::vector<RankCase> ranks;

  [[nodiscard]] int world_size() const { return static_cast<int>(ranks.size()); }
  [[nodiscard]] std::vector<std::int64_t> WindowSizes() const;
};

Case MakeRandomCase(Random& random, int world_size);

// A case from a matrix: rows[s][d] rows of `row_bytes` from s to d, dense views.
Case MakeDenseCase(const std::vector<std::vector<std::int64_t>>& rows, std::int64_t row_bytes);

// Owns what a rank's launches point to.
class Launch {
 public:
  Launch(const RankCase& rank_case, const GroupView& group, int channel);

  // The input of round `round`: bytes that depend on rank, round and position.
  const std::byte* FillInput(int round);
  [[nodiscard]] AllToAllParams Params(const WindowView& window) const;

 private:
  const RankCase& case_;
  const GroupView& group_;
  int channel_;
  IndexArray arrays_[4];
  // Exactly as long as the view, so that AddressSanitizer sees a read beyond it.
  std::unique_ptr<std::byte[]> storage_;
};

std::byte InputByte(int rank, int round, std::int64_t position);

inline constexpr std::byte kPoison{0x5a};

// Contents of every rank's window part after round `round`, if it was all kPoison before.
std::vector<std::vector<std::byte>> Expected(const Case& a_case, int round,
                                             std::vector<std::vector<reference::PairVerdict>>* verdicts = nullptr);

// "" or where two byte ranges differ first.
std::string FirstDifference(std::span<const std::byte> actual, std::span<const std::byte> expected);

}  // namespace a8a::kernels::test

#endif  // A8A_TESTS_UNIT_KERNELS_RANDOM_CASE_H_
