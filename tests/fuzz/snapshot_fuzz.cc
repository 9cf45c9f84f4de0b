// What a daemon finds of the last one: any bytes are refused, or are a state that a core takes up whole and gives on as
// it was. A state that contradicts itself leaves the core empty.
//
// Input: one byte; if it is odd, what follows is the payload, and gets a header that fits it, since no fuzzer finds a
// checksum; else it is the file as it stands.
#include <google/protobuf/stubs/logging.h>
#include <zlib.h>

#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/core/core_state.h"
#include "daemon/snapshot.h"
#include "tests/fuzz/checks.h"
#include "tests/fuzz/fuzzed_core.h"

namespace a8a::daemon {
namespace {

constexpr char kBootId[] = "boot";
constexpr Caller kAdministrator = {.identity = {.uid = 0, .gid = 0, .pid = 1}, .administrator = true};

std::string WithHeader(absl::string_view payload) {
  std::string snapshot = SerializeSnapshot(CoreState(), kBootId).substr(0, sizeof(SnapshotHeader));
  SnapshotHeader header = {};
  std::memcpy(&header, snapshot.data(), sizeof(header));
  header.payload_bytes = payload.size();
  header.payload_crc32 =
      static_cast<std::uint32_t>(::crc32_z(0, reinterpret_cast<const Bytef*>(payload.data()), payload.size()));
  std::memcpy(snapshot.data(), &header, sizeof(header));
  return absl::StrCat(snapshot, payload);
}

void CheckRefused(const absl::Status& status) {
  A8A_CHECK(absl::IsInvalidArgument(status) || absl::IsFailedPrecondition(status), status.ToString());
}

// What has been taken up is given on as it was.
void CheckGivenOn(Core* core) {
  const std::string given = SerializeSnapshot(core->Export(), kBootId);
  fuzz::FuzzedCore next;
  Core::KeptDescriptors kept;
  const auto state = ParseSnapshot(given, kBootId);
  A8A_CHECK(state.ok(), state.status().ToString());
  const auto sessions = next.core->Restore(*state, &kept);
  A8A_CHECK(sessions.ok(), sessions.status().ToString());
  A8A_CHECK(SerializeSnapshot(next.core->Export(), kBootId) == given, "a second restart changes the state");
}

// Every session is asked about, says that it holds nothing, and ends.
void EndSessions(Core* core, const std::vector<SessionInfo>& sessions) {
  for (const SessionInfo& session : sessions) {
    const auto buffers = core->ListBuffers(kAdministrator, 0, 0);
    A8A_CHECK(buffers.ok(), buffers.status().ToString());
    if (session.hands_back) fuzz::CheckAnswer(core->HandBackDone(session.identity, session.session_id));
    core->ProcessEnded(session.session_id);
  }
  const CoreSnapshot snapshot = core->Snapshot(kAdministrator, 0);
  A8A_CHECK(snapshot.sessions.empty() && snapshot.groups.empty(), "something outlived its sessions");
  for (const DeviceSnapshot& device : snapshot.devices) A8A_CHECK(device.leased_bytes == 0, "memory outlived them");
}

void TakeUp(const CoreState& state) {
  fuzz::FuzzedCore core;
  Core::KeptDescriptors kept;
  const auto sessions = core.core->Restore(state, &kept);
  if (!sessions.ok()) {
    CheckRefused(sessions.status());
    A8A_CHECK(core.core->Snapshot(kAdministrator, 0).sessions.empty(), "a refused state leaves sessions");
    return;
  }
  CheckGivenOn(core.core.get());
  EndSessions(core.core.get(), *sessions);
}

}  // namespace
}  // namespace a8a::daemon

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);  // it has a line for each string that is not UTF-8
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace a8a::daemon;
  const absl::string_view input(reinterpret_cast<const char*>(data), size);
  const bool is_payload = !input.empty() && (input[0] & 1) != 0;
  const absl::string_view rest = input.substr(input.empty() ? 0 : 1);
  const auto state = ParseSnapshot(is_payload ? WithHeader(rest) : std::string(rest), kBootId);
  state.ok() ? TakeUp(*state) : CheckRefused(state.status());
  return 0;
}
