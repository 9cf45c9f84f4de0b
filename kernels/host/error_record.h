// Writing and taking a channel's ErrorRecord (control_layout.h).
#ifndef A8A_KERNELS_HOST_ERROR_RECORD_H_
#define A8A_KERNELS_HOST_ERROR_RECORD_H_

#include "kernels/host/fault.h"
#include "kernels/include/control_layout.h"

namespace a8a::kernels::host {

// One error more; `report` is kept if the owner has taken all earlier ones.
void RecordError(ErrorRecord& record, const FaultReport& report);

}  // namespace a8a::kernels::host

#endif  // A8A_KERNELS_HOST_ERROR_RECORD_H_
