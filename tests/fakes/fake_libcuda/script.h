// What the fake driver is told to be; see fake_libcuda.h.
#ifndef A8A_TESTS_FAKES_FAKE_LIBCUDA_SCRIPT_H_
#define A8A_TESTS_FAKES_FAKE_LIBCUDA_SCRIPT_H_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "kernels/base/cuda_abi.h"

namespace a8a::cuda {

struct FakeDevice {
  Uuid uuid = {};
  Uuid gpu_uuid = {};
  int bus = 0;
  std::size_t memory_bytes = std::size_t{1} << 30;
  bool has_virtual_memory = true;
  bool has_descriptors = true;
};

struct FakeScript {
  int version = 13000;
  std::vector<FakeDevice> devices;  // those that CUDA_VISIBLE_DEVICES leaves, in its order
  bool peer_access = true;
  bool peer_atomics = true;
  std::map<std::string, Result> failures;
  std::string trace_path;  // empty: no trace
};

// Reads environment and file.
[[nodiscard]] FakeScript ReadScript();

[[nodiscard]] std::string UuidToHex(const Uuid& uuid);

}  // namespace a8a::cuda

#endif  // A8A_TESTS_FAKES_FAKE_LIBCUDA_SCRIPT_H_
