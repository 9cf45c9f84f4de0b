#include "client/src/mapping.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace a8a::client {
namespace {

using absl::StatusCode;
using ::testing::HasSubstr;

UniqueFd MakeMemory(std::int64_t size_bytes, int seals) {
  UniqueFd fd(memfd_create("memory", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(ftruncate(fd.get(), size_bytes), 0);
  EXPECT_EQ(fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  return fd;
}

TEST(MappingTest, IsSharedWithOtherMappingsOfTheMemory) {
  const UniqueFd fd = MakeMemory(8192, F_SEAL_SHRINK);
  auto one = MapHostMemory(UniqueFd(dup(fd.get())), 8192, "m");
  auto two = MapHostMemory(UniqueFd(dup(fd.get())), 8192, "m");
  ASSERT_THAT(one, IsOk());
  ASSERT_THAT(two, IsOk());

  (*one)->data()[8191] = std::byte{42};

  EXPECT_EQ((*two)->data()[8191], std::byte{42});
  EXPECT_EQ((*two)->size_bytes(), 8192);
}

TEST(MappingTest, TheDescriptorIsClosedAndTheMemoryUnmapped) {
  UniqueFd fd = MakeMemory(4096, F_SEAL_SHRINK);
  const int number = fd.get();
  auto mapping = MapHostMemory(std::move(fd), 4096, "m");
  ASSERT_THAT(mapping, IsOk());
  std::byte* const address = (*mapping)->data();

  EXPECT_EQ(fcntl(number, F_GETFD), -1);
  mapping->reset();

  unsigned char in_core = 0;
  EXPECT_EQ(mincore(address, 4096, &in_core), -1) << "still mapped";
}

TEST(MappingTest, MemoryThatCouldShrinkIsRefused) {
  EXPECT_THAT(MapHostMemory(MakeMemory(4096, F_SEAL_GROW), 4096, "flags of rank 3"),
              StatusIs(StatusCode::kInternal, HasSubstr("flags of rank 3: the descriptor is not sealed")));
}

TEST(MappingTest, AnotherSizeThanWasSaidIsRefused) {
  EXPECT_THAT(MapHostMemory(MakeMemory(4096, F_SEAL_SHRINK), 8192, "m"),
              StatusIs(StatusCode::kInternal, HasSubstr("has 4096 bytes, the daemon said 8192")));
  EXPECT_THAT(MapHostMemory(MakeMemory(0, F_SEAL_SHRINK), 0, "m"), StatusIs(StatusCode::kInternal));
}

TEST(MappingTest, WhatIsNoMemoryIsRefused) {
  EXPECT_THAT(MapHostMemory(UniqueFd(open("/dev/null", O_RDWR | O_CLOEXEC)), 4096, "m"),
              StatusIs(StatusCode::kInternal));
  EXPECT_THAT(MapHostMemory(UniqueFd(), 4096, "m"), StatusIs(StatusCode::kInternal, HasSubstr("fstat")));
}

TEST(MappingTest, MoreThanTheAddressSpaceIsResourceExhausted) {
  constexpr std::int64_t kSize = std::int64_t{1} << 47;  // sparse

  EXPECT_THAT(MapHostMemory(MakeMemory(kSize, F_SEAL_SHRINK), kSize, "m"),
              StatusIs(StatusCode::kResourceExhausted, HasSubstr("cannot map 140737488355328 bytes")));
}

}  // namespace
}  // namespace a8a::client
