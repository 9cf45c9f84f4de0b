// Numbers as people read them.
#ifndef A8A_CLIENT_TOOLS_CTL_FORMAT_H_
#define A8A_CLIENT_TOOLS_CTL_FORMAT_H_

#include <cstdint>
#include <string>

#include "a8a/v1/group_service.pb.h"
#include "a8a/v1/stat_service.pb.h"

namespace a8a::ctl {

[[nodiscard]] std::string FormatBytes(double bytes);        // "1.5 GiB"
[[nodiscard]] std::string FormatCount(double count);        // "12.3k"
[[nodiscard]] std::string FormatShare(double share);        // 0.125 is "12.5%"
[[nodiscard]] std::string FormatNs(double ns);              // "3.2 ms"
[[nodiscard]] std::string FormatAge(std::int64_t seconds);  // "3d 4h"

// "forming", "ready", "aborted", or the number of a state that this program does not know.
[[nodiscard]] std::string StateName(v1::GroupState state);
// "rank_died" and so on; as StateName.
[[nodiscard]] std::string ReasonName(v1::EndReason reason);
// "host", "cuda"; as StateName.
[[nodiscard]] std::string KindName(v1::DeviceKind kind);

// The upper end of the histogram's bucket that holds quantile `q`, in nanoseconds; 0 for an empty histogram.
[[nodiscard]] double QuantileNs(const v1::WaitHistogram& histogram, double q);
[[nodiscard]] std::uint64_t ErrorCountOf(const v1::Counters& counters);

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_FORMAT_H_
