// Checks on the host, and launches. Kernels trust what is checked here.
#include <cuda_runtime_api.h>

#include <array>

#include "absl/strings/str_cat.h"
#include "kernels/base/index.h"
#include "kernels/base/status_macros.h"
#include "kernels/cuda/plan.h"
#include "kernels/host/params.h"
#include "kernels/host/row_layout.h"
#include "kernels/include/cuda_all_to_all.h"
#include "kernels/include/host_all_to_all.h"

namespace a8a::kernels::cuda {
namespace {

absl::Status ToStatus(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return absl::OkStatus();
  // Taken, so that it is not reported again as if a later call had failed.
  (void)cudaGetLastError();
  return absl::InternalError(absl::StrCat(what, ": ", cudaGetErrorString(error), " (", cudaGetErrorName(error), ")"));
}

absl::Status CheckBlocks(const GroupView& group) {
  if (group.block_count >= 1 && group.block_count <= kMaxBlockCount) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("block_count ", group.block_count, " is not in [1, ", kMaxBlockCount, "]"));
}

absl::Status CheckAligned(const char* name, const void* pointer, std::size_t alignment) {
  if (reinterpret_cast<std::uintptr_t>(pointer) % alignment == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, " is not aligned to ", alignment, " bytes"));
}

absl::Status CheckSplits(const SplitsView& splits) {
  const std::size_t alignment = splits.type == IndexType::kInt32 ? sizeof(std::int32_t) : sizeof(std::int64_t);
  A8A_RETURN_IF_ERROR(CheckAligned("splits: input", splits.input, alignment));
  A8A_RETURN_IF_ERROR(CheckAligned("splits: output", splits.output, alignment));
  A8A_RETURN_IF_ERROR(CheckAligned("splits: input_offsets", splits.input_offsets, alignment));
  return CheckAligned("splits: output_offsets", splits.output_offsets, alignment);
}

absl::Status CheckPlanMemory(const Plan& plan) {
  if (plan.device == nullptr) return absl::InvalidArgumentError("the plan has no device memory");
  return CheckAligned("the plan's device memory", plan.device, kPlanAlignment);
}

absl::StatusOr<std::byte*> ControlOnDevice(const GroupView& group) {
  void* control = nullptr;
  A8A_RETURN_IF_ERROR(ToStatus(cudaHostGetDevicePointer(&control, group.control, 0),
                               "the control segment is not registered with cudaHostRegister"));
  return static_cast<std::byte*>(control);
}

GroupTable MakeGroupTable(const GroupView& group, int channel, std::byte* control) {
  const ControlLayout layout{group.world_size, group.channel_count};
  GroupTable table = {};
  table.rank = group.rank;
  table.world_size = group.world_size;
  table.block_count = group.block_count;
  table.offsets = OffsetsOf({group.world_size, group.channel_count, group.block_count}, channel);
  table.control = control;
  table.channel_control = control + layout.ChannelOffset(group.rank, channel);
  table.rank_control = control + layout.RankOffset(group.rank);
  for (int rank = 0; rank < group.world_size; ++rank) table.flags[rank] = group.flags[Index(rank)];
  return table;
}

absl::StatusOr<ExchangeArgs> MakeExchangeArgs(const AllToAllParams& params) {
  const GroupView& group = *params.group;
  auto control = ControlOnDevice(group);
  if (!control.ok()) return control.status();
  ExchangeArgs args = {};
  args.group = MakeGroupTable(group, params.channel, *control);
  args.input = params.input;
  args.input_layout = params.input_layout;
  args.output_layout = params.output_layout;
  args.output_offset_bytes = params.output_offset_bytes;
  args.input_rows = *host::RowCount(params.input_layout);
  args.output_rows = *host::RowCount(params.output_layout);
  args.splits = params.splits;
  args.timeout_ns = params.timeout_ns;
  args.window_index = params.window->window_index;
  for (int rank = 0; rank < group.world_size; ++rank) {
    args.window_base[rank] = params.window->base[Index(rank)];
    args.window_size_bytes[rank] = params.window->size_bytes[Index(rank)];
  }
  return args;
}

// Set up while the kernel before it in the stream ends; see WaitForEarlierKernels.
absl::Status Launch(const void* kernel, int block_count, void* args, Stream stream) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(block_count));
  config.blockDim = dim3(static_cast<unsigned>(kThreads));
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  std::array<void*, 1> arguments = {args};
  return ToStatus(cudaLaunchKernelExC(&config, kernel, arguments.data()), "launch of an all-to-all");
}

}  // namespace

absl::Status AllToAll(const AllToAllParams& params, Stream stream) {
  A8A_RETURN_IF_ERROR(host::CheckGroup(params));
  A8A_RETURN_IF_ERROR(CheckBlocks(*params.group));
  A8A_RETURN_IF_ERROR(host::CheckViews(params));
  A8A_RETURN_IF_ERROR(host::CheckInput(params));
  A8A_RETURN_IF_ERROR(CheckSplits(params.splits));
  auto args = MakeExchangeArgs(params);
  if (!args.ok()) return args.status();
  return Launch(OneShotKernel(), params.group->block_count + 1, &*args, stream);
}

absl::Status Prepare(const AllToAllParams& params, Plan* plan, Stream stream) {
  if (plan == nullptr) return absl::InvalidArgumentError("plan is null");
  plan->prepared = false;
  A8A_RETURN_IF_ERROR(CheckPlanMemory(*plan));
  A8A_RETURN_IF_ERROR(host::CheckGroup(params));
  A8A_RETURN_IF_ERROR(CheckBlocks(*params.group));
  A8A_RETURN_IF_ERROR(host::CheckViews(params));
  A8A_RETURN_IF_ERROR(CheckSplits(params.splits));
  auto args = MakeExchangeArgs(params);
  if (!args.ok()) return args.status();
  args->plan = static_cast<DevicePlan*>(plan->device);
  A8A_RETURN_IF_ERROR(Launch(PrepareKernel(), /*block_count=*/1, &*args, stream));
  plan->params = params;
  plan->prepared = true;
  return absl::OkStatus();
}

absl::Status AllToAll(const Plan& plan, const std::byte* input, std::int64_t timeout_ns, Stream stream) {
  if (!plan.prepared) return absl::FailedPreconditionError("the plan has not been prepared");
  A8A_RETURN_IF_ERROR(CheckPlanMemory(plan));
  AllToAllParams params = plan.params;
  params.input = input;
  params.timeout_ns = timeout_ns;
  A8A_RETURN_IF_ERROR(host::CheckGroup(params));
  A8A_RETURN_IF_ERROR(host::CheckInput(params));
  const GroupView& group = *params.group;
  auto control = ControlOnDevice(group);
  if (!control.ok()) return control.status();
  PreparedArgs args = {};
  args.plan = static_cast<const DevicePlan*>(plan.device);
  args.input = input;
  args.timeout_ns = timeout_ns;
  args.flags = group.flags[Index(group.rank)];
  args.control = *control;
  args.rank = group.rank;
  args.world_size = group.world_size;
  args.window_index = params.window->window_index;
  args.offsets = OffsetsOf({group.world_size, group.channel_count, group.block_count}, params.channel);
  return Launch(PreparedKernel(), group.block_count + 1, &args, stream);
}

absl::Status TakeStatus(const GroupView& group, int channel) { return host::TakeStatus(group, channel); }

}  // namespace a8a::kernels::cuda
