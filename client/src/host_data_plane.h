// The data plane for shared memory of the machine: the calling thread does the work.
#ifndef A8A_CLIENT_SRC_HOST_DATA_PLANE_H_
#define A8A_CLIENT_SRC_HOST_DATA_PLANE_H_

#include <memory>

#include "client/src/data_plane.h"

namespace a8a::client {

// Its calls return INVALID_ARGUMENT for a stream that is not null.
[[nodiscard]] std::unique_ptr<const DataPlane> MakeHostDataPlane();

}  // namespace a8a::client

#endif  // A8A_CLIENT_SRC_HOST_DATA_PLANE_H_
