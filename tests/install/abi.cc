// The layouts of the C++ interface, as programs that were compiled against it have them; see abi.c. Classes are
// pointers to what is inside. As libstdc++ has its string.
#include <cstddef>
#include <string>
#include <type_traits>

#include "a8a/client.h"
#include "a8a/group.h"
#include "a8a/types.h"
#include "absl/time/time.h"

namespace a8a {
namespace {

// The options hold durations, which are smaller in later releases of Abseil: their programs are compiled against other
// layouts.
constexpr bool kIsKept = sizeof(absl::Duration) == 16;

#define SAME_SIZE(type, size) static_assert(!kIsKept || sizeof(type) == (size), "size of " #type)
#define SAME_FIELD(type, member, member_type, offset)                                                          \
  static_assert(                                                                                               \
      (!kIsKept || offsetof(type, member) == (offset)) && std::is_same_v<decltype(type::member), member_type>, \
      #type "::" #member)

SAME_SIZE(Buffer, 8);
SAME_SIZE(Client, 8);
SAME_SIZE(Group, 8);
SAME_SIZE(Plan, 8);
SAME_SIZE(Window, 8);

SAME_SIZE(IndexType, 1);
static_assert(static_cast<int>(IndexType::kInt32) == 0 && static_cast<int>(IndexType::kInt64) == 1);

SAME_SIZE(Device, 32);
SAME_FIELD(Device, name, std::string, 0);

SAME_SIZE(Channel, 4);
SAME_FIELD(Channel, index, int, 0);

SAME_SIZE(View, 40);
SAME_FIELD(View, outer_size, std::int64_t, 0);
SAME_FIELD(View, inner_size, std::int64_t, 8);
SAME_FIELD(View, outer_stride_bytes, std::int64_t, 16);
SAME_FIELD(View, inner_stride_bytes, std::int64_t, 24);
SAME_FIELD(View, row_bytes, std::int64_t, 32);

SAME_SIZE(Splits, 40);
SAME_FIELD(Splits, input, const void*, 0);
SAME_FIELD(Splits, output, const void*, 8);
SAME_FIELD(Splits, input_offsets, const void*, 16);
SAME_FIELD(Splits, output_offsets, const void*, 24);
SAME_FIELD(Splits, type, IndexType, 32);

SAME_SIZE(Input, 48);
SAME_FIELD(Input, data, const void*, 0);
SAME_FIELD(Input, view, View, 8);

SAME_SIZE(Output, 56);
SAME_FIELD(Output, window, const Window*, 0);
SAME_FIELD(Output, offset_bytes, std::int64_t, 8);
SAME_FIELD(Output, view, View, 16);

SAME_SIZE(ConnectOptions, 80);
SAME_FIELD(ConnectOptions, runtime_dir, std::string, 0);
SAME_FIELD(ConnectOptions, client_name, std::string, 32);
SAME_FIELD(ConnectOptions, timeout, absl::Duration, 64);

SAME_SIZE(JoinOptions, 144);
SAME_FIELD(JoinOptions, name, std::string, 0);
SAME_FIELD(JoinOptions, rank, int, 32);
SAME_FIELD(JoinOptions, world_size, int, 36);
SAME_FIELD(JoinOptions, device, Device, 40);
SAME_FIELD(JoinOptions, channel_count, int, 72);
SAME_FIELD(JoinOptions, secret, std::string, 80);
SAME_FIELD(JoinOptions, timeout, absl::Duration, 112);
SAME_FIELD(JoinOptions, all_to_all_timeout, absl::Duration, 128);

SAME_SIZE(BufferOptions, 88);
SAME_FIELD(BufferOptions, size_bytes, std::int64_t, 0);
SAME_FIELD(BufferOptions, device, Device, 8);
SAME_FIELD(BufferOptions, name, std::string, 40);
SAME_FIELD(BufferOptions, timeout, absl::Duration, 72);

}  // namespace
}  // namespace a8a
