#include <cstdint>
#include <cstring>
#include <vector>

#include "tests/integration/lives/rank_memory.h"

namespace a8a::testing {
namespace {

class HostRankMemory final : public RankMemory {
 public:
  HostRankMemory(std::size_t world_size, std::size_t row_bytes)
      : rows_(world_size * row_bytes), splits_(world_size, 1) {}

  [[nodiscard]] Device device() const override { return Device::Host(); }
  [[nodiscard]] Stream stream() const override { return nullptr; }
  [[nodiscard]] std::byte* rows() override { return rows_.data(); }
  [[nodiscard]] const std::int32_t* splits() const override { return splits_.data(); }
  [[nodiscard]] absl::Status Fill(char byte) override {
    std::memset(rows_.data(), byte, rows_.size());
    return absl::OkStatus();
  }
  [[nodiscard]] absl::Status Finish(Group*, const absl::Status& launched) override { return launched; }
  [[nodiscard]] absl::StatusOr<const char*> Read(const std::byte* window) override {
    return reinterpret_cast<const char*>(window);
  }

 private:
  std::vector<std::byte> rows_;
  const std::vector<std::int32_t> splits_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RankMemory>> RankMemory::Create(int /*rank*/, int world_size, std::size_t row_bytes) {
  return std::make_unique<HostRankMemory>(static_cast<std::size_t>(world_size), row_bytes);
}

}  // namespace a8a::testing
