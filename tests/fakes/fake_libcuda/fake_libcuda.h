// A libcuda.so.1 without a GPU: the driver calls of kernels/base/cuda_driver.h on memfds. Descriptors that one process
// exports can be imported by another, so that daemon and client run against it unchanged, by path or LD_LIBRARY_PATH.
//
// It behaves as driver 580 was seen to on an H100: no call but cuInit needs a context, fresh memory is zero, the
// descriptor alone keeps memory alive, and mapping less or more than was allocated is "not supported". cuInit can be
// called again and then reads environment and script anew, which a real driver does not. CUDA_VISIBLE_DEVICES (ordinals
// or UUIDs) hides and orders devices.
//
// The script is the file that A8A_FAKE_CUDA_SCRIPT names; without one there are two devices. One statement a line:
//   version 12040                  what cuDriverGetVersion says
//   device uuid=HEX32 [gpu_uuid=HEX32] [bus=N] [memory=BYTES] [vmm=0] [descriptors=0]
//   no_peer_access                 between all devices
//   no_peer_atomics
//   fail CALL RESULT               CALL returns RESULT; read again at every call
//   trace FILE                     appends the name of each call to FILE; read again at every call
#ifndef A8A_TESTS_FAKES_FAKE_LIBCUDA_FAKE_LIBCUDA_H_
#define A8A_TESTS_FAKES_FAKE_LIBCUDA_FAKE_LIBCUDA_H_

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <utility>

namespace a8a::cuda {

inline constexpr char kFakeScriptVariable[] = "A8A_FAKE_CUDA_SCRIPT";

// Writes the script and reads the fake's counters. Not thread-safe; one at a time.
class FakeLibcuda {
 public:
  // `script_path` is where the script goes, with this process's id behind it.
  FakeLibcuda(std::string library, const std::string& script_path)
      : library_(std::move(library)), script_path_(script_path + "." + std::to_string(::getpid())) {
    ::unsetenv("CUDA_VISIBLE_DEVICES");
    ::setenv(kFakeScriptVariable, script_path_.c_str(), /*overwrite=*/1);
    Script("");
  }
  ~FakeLibcuda() {
    ::unsetenv("CUDA_VISIBLE_DEVICES");
    ::unsetenv(kFakeScriptVariable);
    ::unlink(script_path_.c_str());
  }
  FakeLibcuda(const FakeLibcuda&) = delete;
  FakeLibcuda& operator=(const FakeLibcuda&) = delete;

  void Script(const std::string& text) const { std::ofstream(script_path_) << text; }
  [[nodiscard]] const std::string& library() const { return library_; }

  // How often a call was made ("cuMemCreate"), or how many there are now ("live handles", "live reservations",
  // "live mappings", "live contexts").
  [[nodiscard]] long Count(const std::string& what) const {
    void* const handle = ::dlopen(library_.c_str(), RTLD_NOW | RTLD_LOCAL);
    const auto count =
        handle == nullptr ? nullptr : reinterpret_cast<long (*)(const char*)>(::dlsym(handle, "FakeCudaCount"));
    return count == nullptr ? -1 : count(what.c_str());
  }

 private:
  const std::string library_;
  const std::string script_path_;
};

}  // namespace a8a::cuda

#endif  // A8A_TESTS_FAKES_FAKE_LIBCUDA_FAKE_LIBCUDA_H_
