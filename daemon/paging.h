// Pages of a list, as ListBuffers and ListGroups give them.
#ifndef A8A_DAEMON_PAGING_H_
#define A8A_DAEMON_PAGING_H_

#include <google/protobuf/repeated_ptr_field.h>

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"
#include "daemon/proto_convert.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {

// gRPC clients refuse messages above 4 MiB unless told otherwise, and one group with 64 ranks and 64 windows takes some
// 40 KiB. A page that reaches this ends early.
inline constexpr std::size_t kPageBytesMax = std::size_t{1} << 20;
inline constexpr int kPageSizeDefault = 100;

// Fills `messages` with the objects after `after`, at most `page_size` of them (0: the default). `list(after,
// page_size)` gives a StatusOr<vector> in the order of ids, `id(object)` an object's id.
//
// Returns where the next page starts, or 0 if this is the last. Errors: those of `list`.
template <typename List, typename Id, typename Message>
absl::StatusOr<std::uint64_t> FillPage(std::uint64_t after, int page_size, List list, Id id,
                                       google::protobuf::RepeatedPtrField<Message>* messages) {
  A8A_ASSIGN_OR_RETURN(const auto objects, list(after, page_size));
  std::size_t size_bytes = 0;
  std::uint64_t last_id = after;
  for (const auto& object : objects) {
    Message* message = messages->Add();
    ToProto(object, message);
    last_id = id(object);
    size_bytes += message->ByteSizeLong();
    if (size_bytes >= kPageBytesMax) break;
  }
  const int limit = page_size == 0 ? kPageSizeDefault : page_size;
  if (size_bytes < kPageBytesMax && messages->size() < limit) return 0;
  A8A_ASSIGN_OR_RETURN(const auto rest, list(last_id, 1));
  return rest.empty() ? 0 : last_id;
}

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_PAGING_H_
