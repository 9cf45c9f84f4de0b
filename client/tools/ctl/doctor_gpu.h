// What `a8actl doctor` asks the GPU driver.
#ifndef A8A_CLIENT_TOOLS_CTL_DOCTOR_GPU_H_
#define A8A_CLIENT_TOOLS_CTL_DOCTOR_GPU_H_

#include <vector>

#include "client/tools/ctl/doctor.h"

namespace a8a::ctl {

// "driver", "peer_access" and "persistence_mode". `daemon_gpu_count`: GPUs that the daemon leases memory of; -1 where
// no daemon says.
[[nodiscard]] std::vector<Finding> ExamineGpus(int daemon_gpu_count);

}  // namespace a8a::ctl

#endif  // A8A_CLIENT_TOOLS_CTL_DOCTOR_GPU_H_
