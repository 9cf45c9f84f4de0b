#include "tests/gpu/gpu_group.h"

#include <cuda.h>
#include <cuda_runtime_api.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "kernels/base/check.h"

namespace a8a::kernels::test {

struct SharedState {
  std::atomic<int> arrived;
  std::atomic<int> generation;
  std::atomic<int> failed_rank_plus1;
  std::array<char, 4000> failure;
  std::array<double, kMaxWorldSize> values;
  int control_fd;
  std::array<std::array<int, 2>, kMaxWorldSize> sockets;  // [rank]: written by all, read by that rank
};

namespace {

constexpr std::size_t kGuardBytes = 4096;
// Longer than any test; a rank that is stuck is killed by its own alarm.
constexpr unsigned kMaxSeconds = 240;

// Driver functions through the runtime: the test binaries run, and skip, where there is no libcuda.so.1.
template <typename Function>
Function DriverFunction(const char* name) {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult result = {};
  A8A_CUDA(cudaGetDriverEntryPointByVersion(name, &address, 12000, cudaEnableDefault, &result));
  return reinterpret_cast<Function>(address);
}

void CheckDriver(CUresult result, const char* what) {
  if (result == CUDA_SUCCESS) return;
  std::fprintf(stderr, "%s: CUresult %d\n", what, static_cast<int>(result));
  std::_Exit(3);
}
#define A8A_DRIVER(name, ...) CheckDriver(DriverFunction<decltype(&name)>(#name)(__VA_ARGS__), #name)

void SendFd(int socket, int rank, int fd) {
  char byte = static_cast<char>(rank);
  iovec data{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> buffer = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = buffer.data();
  message.msg_controllen = buffer.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof(int));
  A8A_CHECK(sendmsg(socket, &message, 0) == 1, "sendmsg");
}

// And whose it is.
int ReceiveFd(int socket, std::size_t* rank) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> buffer = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = buffer.data();
  message.msg_controllen = buffer.size();
  A8A_CHECK(recvmsg(socket, &message, 0) == 1, "recvmsg");
  *rank = static_cast<std::size_t>(byte);
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
  return fd;
}

// On the current device.
CUmemAllocationProp DeviceMemory() {
  int device = 0;
  A8A_CUDA(cudaGetDevice(&device));
  CUmemAllocationProp prop = {};
  prop.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  prop.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  prop.location = {CU_MEM_LOCATION_TYPE_DEVICE, {device}};
  return prop;
}

std::byte* Map(CUmemGenericAllocationHandle handle, std::size_t size) {
  CUdeviceptr address = 0;
  A8A_DRIVER(cuMemAddressReserve, &address, size, 0, 0, 0);
  A8A_DRIVER(cuMemMap, address, size, 0, handle, 0);
  CUmemAccessDesc access = {};
  access.location = DeviceMemory().location;
  access.flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  A8A_DRIVER(cuMemSetAccess, address, size, &access, 1);
  return reinterpret_cast<std::byte*>(address);
}

std::size_t RoundUp(std::size_t value, std::size_t multiple) { return (value + multiple - 1) / multiple * multiple; }

[[noreturn]] void Fail(SharedState* shared, int rank, std::string_view what) {
  int none = 0;
  if (shared->failed_rank_plus1.compare_exchange_strong(none, rank + 1)) {
    const std::size_t size = std::min(what.size(), shared->failure.size() - 1);
    std::memcpy(shared->failure.data(), what.data(), size);
  }
  std::_Exit(4);
}

}  // namespace

void CheckCuda(int cuda_error, const char* what) {
  if (cuda_error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(static_cast<cudaError_t>(cuda_error)));
  std::_Exit(3);
}

void GpuGroup::Create(int rank, int world_size, const GpuGroupOptions& options, SharedState* shared) {
  options_ = options;
  shared_ = shared;
  view_.rank = rank;
  view_.world_size = world_size;
  view_.channel_count = options.channel_count;
  view_.block_count = options.block_count;
  const auto ranks = static_cast<std::size_t>(world_size);
  const FlagsLayout layout{world_size, options.channel_count, options.block_count};
  const std::size_t flags_bytes = RoundUp(layout.size_bytes(), kGuardBytes) + kGuardBytes;
  const std::size_t part_bytes = static_cast<std::size_t>(options.window_bytes) + kGuardBytes;
  const auto windows = static_cast<std::size_t>(options.window_count);
  const std::size_t total = RoundUp(flags_bytes + windows * part_bytes, std::size_t{2} << 20);

  int device_count = 0;
  A8A_CUDA(cudaGetDeviceCount(&device_count));
  A8A_CUDA(cudaSetDevice(rank % device_count));
  A8A_CUDA(cudaFree(nullptr));
  const CUmemAllocationProp prop = DeviceMemory();
  CUmemGenericAllocationHandle handle = 0;
  A8A_DRIVER(cuMemCreate, &handle, total, &prop, 0);
  int fd = -1;
  A8A_DRIVER(cuMemExportToShareableHandle, &fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
  std::byte* own = Map(handle, total);
  A8A_CUDA(cudaMemset(own, static_cast<int>(kGuard), total));
  A8A_CUDA(cudaMemset(own, 0, layout.size_bytes()));
  A8A_CUDA(cudaStreamSynchronize(cudaStreamLegacy));
  A8A_CUDA(cudaDeviceSynchronize());
  const auto me = static_cast<std::size_t>(rank);
  for (std::size_t peer = 0; peer < ranks; ++peer) {
    if (peer != me) SendFd(shared->sockets[peer][0], rank, fd);
  }
  windows_.resize(windows);
  for (std::size_t i = 0; i < ranks; ++i) {
    std::size_t peer = me;
    std::byte* base = own;
    if (i > 0) {
      CUmemGenericAllocationHandle imported = 0;
      const auto peer_fd = static_cast<std::intptr_t>(ReceiveFd(shared->sockets[me][1], &peer));
      A8A_DRIVER(cuMemImportFromShareableHandle, &imported, reinterpret_cast<void*>(peer_fd),
                 CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
      base = Map(imported, total);
    }
    view_.flags[peer] = base;
    for (std::size_t w = 0; w < windows; ++w) {
      windows_[w].window_index = static_cast<int>(w);
      windows_[w].base[peer] = base + flags_bytes + w * part_bytes;
      windows_[w].size_bytes[peer] = options.window_bytes;
    }
  }
  const ControlLayout control{world_size, options.channel_count};
  void* mapped = mmap(nullptr, control.size_bytes(), PROT_READ | PROT_WRITE, MAP_SHARED, shared->control_fd, 0);
  A8A_CHECK(mapped != MAP_FAILED, "mmap");
  A8A_CUDA(cudaHostRegister(mapped, control.size_bytes(), cudaHostRegisterMapped));
  view_.control = static_cast<std::byte*>(mapped);
  Barrier();
}

void GpuGroup::Barrier() {
  const int generation = shared_->generation.load();
  if (shared_->arrived.fetch_add(1) == world_size() - 1) {
    shared_->arrived = 0;
    shared_->generation.fetch_add(1);
  }
  while (shared_->generation.load() == generation) {
    if (shared_->failed_rank_plus1.load() != 0) std::_Exit(5);
    usleep(20);
  }
}

double* GpuGroup::shared_values() const { return shared_->values.data(); }

std::string GpuGroup::CheckGuards() const {
  std::array<std::byte, kGuardBytes> bytes;
  for (const WindowView& view : windows_) {
    std::byte* part = view.base[static_cast<std::size_t>(rank())];
    for (std::byte* guard : {part - kGuardBytes, part + options_.window_bytes}) {
      A8A_CUDA(cudaMemcpy(bytes.data(), guard, kGuardBytes, cudaMemcpyDeviceToHost));
      for (const std::byte byte : bytes) {
        if (byte != kGuard) return "damaged guard bytes around window " + std::to_string(view.window_index);
      }
    }
  }
  return "";
}

std::string RunRanks(int world_size, const GpuGroupOptions& options,
                     const std::function<std::string(GpuGroup&)>& body) {
  void* memory = mmap(nullptr, sizeof(SharedState), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  A8A_CHECK(memory != MAP_FAILED, "mmap");
  auto* shared = new (memory) SharedState{};
  const ControlLayout control{world_size, options.channel_count};
  shared->control_fd = memfd_create("control", MFD_CLOEXEC);
  A8A_CHECK(ftruncate(shared->control_fd, static_cast<off_t>(control.size_bytes())) == 0, "ftruncate");
  const auto ranks = static_cast<std::size_t>(world_size);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    A8A_CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, shared->sockets[rank].data()) == 0, "socketpair");
  }
  std::fflush(nullptr);
  std::vector<pid_t> children;
  for (int rank = 0; rank < world_size; ++rank) {
    const pid_t child = fork();
    A8A_CHECK(child >= 0, "fork");
    if (child == 0) {
      // A rank outlives neither its limit nor its parent: it would keep spinning on the GPU.
      alarm(kMaxSeconds);
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      GpuGroup group;
      group.Create(rank, world_size, options, shared);
      std::string failure = body(group);
      if (failure.empty()) failure = group.CheckGuards();
      if (!failure.empty()) Fail(shared, rank, "rank " + std::to_string(rank) + ": " + failure);
      group.Barrier();
      std::fflush(nullptr);
      std::_Exit(0);
    }
    children.push_back(child);
  }
  std::string failure;
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    if (status != 0 && failure.empty()) {
      failure = "a rank ended with wait status " + std::to_string(status);
      // The others may wait for it for ever.
      int none = 0;
      shared->failed_rank_plus1.compare_exchange_strong(none, -1);
    }
  }
  if (shared->failure[0] != 0) failure = shared->failure.data();
  close(shared->control_fd);
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    for (const int fd : shared->sockets[rank]) close(fd);
  }
  munmap(memory, sizeof(SharedState));
  return failure;
}

std::string WhyNoGpu() {
  const pid_t child = fork();
  if (child == 0) {
    int count = 0;
    const cudaError_t error = cudaGetDeviceCount(&count);
    std::_Exit(error != cudaSuccess ? 1 : count == 0 ? 2 : 0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return status == 0 ? "" : "no CUDA device can be used here";
}

bool UnderMps() { return std::getenv("CUDA_MPS_PIPE_DIRECTORY") != nullptr; }

}  // namespace a8a::kernels::test
