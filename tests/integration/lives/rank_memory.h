// The rows of a mortal_rank, and what it sees in its windows: on the host, or, in a program of the GPU tests, on a GPU.
#ifndef A8A_TESTS_INTEGRATION_LIVES_RANK_MEMORY_H_
#define A8A_TESTS_INTEGRATION_LIVES_RANK_MEMORY_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "a8a/client.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace a8a::testing {

class RankMemory {
 public:
  // Of a rank that sends one row of `row_bytes` to each. The one thing that differs between the programs.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<RankMemory>> Create(int rank, int world_size,
                                                                          std::size_t row_bytes);
  virtual ~RankMemory() = default;

  [[nodiscard]] virtual Device device() const = 0;
  [[nodiscard]] virtual Stream stream() const = 0;
  [[nodiscard]] virtual std::byte* rows() = 0;
  // world_size ones.
  [[nodiscard]] virtual const std::int32_t* splits() const = 0;
  // All rows, before what is started on the stream next.
  [[nodiscard]] virtual absl::Status Fill(char byte) = 0;
  // What became of an operation of channel 0 that returned `launched`; on a GPU waits for the stream.
  [[nodiscard]] virtual absl::Status Finish(Group* group, const absl::Status& launched) = 0;
  // As many bytes of a window as of rows, on the host; valid until the next call.
  [[nodiscard]] virtual absl::StatusOr<const char*> Read(const std::byte* window) = 0;
};

}  // namespace a8a::testing

#endif  // A8A_TESTS_INTEGRATION_LIVES_RANK_MEMORY_H_
