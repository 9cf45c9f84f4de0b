// Every RPC: bytes become a request, and the request goes the way that the services send it (AttachStream, requests.h,
// proto_convert.h) into a core on fake memory. An input is a story of calls by five processes of three uids, so that
// what earlier calls have left matters.
//
// Input: for each call one byte for what is called, one for the process that calls, and the message with its length.
#include <google/protobuf/stubs/logging.h>

#include <cstdint>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "daemon/attach_stream.h"
#include "daemon/proto_convert.h"
#include "daemon/requests.h"
#include "tests/fuzz/attach_call.h"
#include "tests/fuzz/checks.h"
#include "tests/fuzz/fuzzed_core.h"
#include "tests/fuzz/input.h"

namespace a8a::daemon {
namespace {

using fuzz::AttachCall;
using fuzz::Input;

constexpr int kCallCountMax = 100;
constexpr Caller kCallers[] = {
    {.identity = {.uid = 1000, .gid = 1000, .pid = 10}, .administrator = false},
    {.identity = {.uid = 1000, .gid = 1000, .pid = 11}, .administrator = false},
    {.identity = {.uid = 1000, .gid = 1000, .pid = 12}, .administrator = false},
    {.identity = {.uid = 1001, .gid = 1001, .pid = 20}, .administrator = false},
    {.identity = {.uid = 0, .gid = 0, .pid = 1}, .administrator = true},
};

// Threads that outlive inputs. Nothing is under way on them between two.
struct Threads {
  Executor ends{{.name = "ends", .thread_count = 1, .queue_max = 1}};
  std::unique_ptr<ProcessWatcher> watcher = ProcessWatcher::Start([](std::uint64_t) {}).value();

  Threads() { A8A_CHECK(ends.Start().ok(), "no thread"); }
};

Threads& TheThreads() {
  static auto* const threads = new Threads;
  return *threads;
}

template <typename Message>
bool Parse(absl::string_view bytes, Message* message) {
  return message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

// The client must be able to read what it is sent: text that is not UTF-8 goes out, and is refused there.
template <typename Message>
void CheckReadable(const Message& message) {
  Message again;
  A8A_CHECK(again.ParseFromString(message.SerializeAsString()), absl::StrCat("unreadable: ", message.DebugString()));
}

class World {
 public:
  World() = default;
  ~World() {
    calls_.clear();
    core_.core->EndEverything();
    A8A_CHECK(*open_waits_ == 0, "a join or a window was never answered");
    core_.core.reset();
    A8A_CHECK(core_.script->live_count() == 0, "memory outlived the core");
  }
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  void Step(Input* input) {
    const std::uint8_t what = input->Byte();
    const Caller& caller = kCallers[input->Byte() % std::size(kCallers)];
    const absl::string_view bytes = input->Piece();
    Call(what, caller, bytes);
    CheckAccounts();
  }

 private:
  [[nodiscard]] Core* core() { return core_.core.get(); }

  void Call(std::uint8_t what, const Caller& caller, absl::string_view bytes) {
    switch (what % 25) {
      case 0:
        return OpenStream(caller, bytes);
      case 1:
        return Stream(bytes, [](AttachCall* call, absl::string_view rest) { call->Send(rest); });
      case 2:
        return Stream(bytes, [](AttachCall* call, absl::string_view) { call->TakeResponse(/*arrived=*/true); });
      case 3:
        return Stream(bytes, [](AttachCall* call, absl::string_view) { call->TakeResponse(/*arrived=*/false); });
      case 4:
        return Stream(bytes, [](AttachCall* call, absl::string_view) { call->Cancel(); });
      case 5:
        return Unary<v1::RegisterBufferRequest, v1::RegisterBufferResponse>(caller, bytes);
      case 6:
        return Unary<v1::ReleaseBufferRequest, v1::ReleaseBufferResponse>(caller, bytes);
      case 7:
        return Unary<v1::GetBufferRequest, v1::GetBufferResponse>(caller, bytes);
      case 8:
        return Unary<v1::ListBuffersRequest, v1::ListBuffersResponse>(caller, bytes);
      case 9:
        return JoinGroup(caller, bytes);
      case 10:
        return RegisterWindow(caller, bytes);
      case 11:
        return Unary<v1::ReleaseWindowRequest, v1::ReleaseWindowResponse>(caller, bytes);
      case 12:
        return Unary<v1::AbortGroupRequest, v1::AbortGroupResponse>(caller, bytes);
      case 13:
        return Unary<v1::LeaveGroupRequest, v1::LeaveGroupResponse>(caller, bytes);
      case 14:
        return Unary<v1::GetGroupRequest, v1::GetGroupResponse>(caller, bytes);
      case 15:
        return Unary<v1::ListGroupsRequest, v1::ListGroupsResponse>(caller, bytes);
      case 16:
        return GetStats(caller, bytes);
      case 17:
        return WatchStats(bytes);
      case 18:
        return Unary<v1::DrainRequest, v1::DrainResponse>(caller, bytes);
      case 19:
        return fuzz::CheckAnswer(core()->Undrain(caller));
      case 20:
        return Unary<v1::RevokeRequest, v1::RevokeResponse>(caller, bytes);
      case 21:
        return CancelWait(bytes);
      case 22:
        return EndProcess(bytes);
      case 23:
        return PassTime(bytes);
      case 24:
        return CallDuringAllocation(bytes);
    }
  }

  // --- Attach ---

  void OpenStream(const Caller& caller, absl::string_view hello) {
    const AttachDeps deps = {
        .core = core(), .watcher = TheThreads().watcher.get(), .ends = &TheThreads().ends, .daemon_instance_id = 1};
    calls_.push_back(std::make_unique<AttachCall>(deps, caller,
                                                  [this, uid = caller.identity.uid](const v1::AttachResponse& message) {
                                                    CheckReadable(message);
                                                    if (message.has_welcome())
                                                      uids_[message.welcome().session_id()] = uid;
                                                  }));
    calls_.back()->Send(hello);
  }

  // The stream is the one whose number is the first byte.
  template <typename Act>
  void Stream(absl::string_view bytes, Act act) {
    if (bytes.empty() || calls_.empty()) return;
    act(calls_[static_cast<std::uint8_t>(bytes[0]) % calls_.size()].get(), bytes.substr(1));
  }

  // --- Unary ---

  template <typename Request, typename Response>
  void Unary(const Caller& caller, absl::string_view bytes) {
    Request request;
    if (!Parse(bytes, &request)) return;  // gRPC answers it
    Response response;
    const absl::Status status = Handle(core(), caller, request, &response);
    fuzz::CheckAnswer(status);
    CheckReadable(response);
    if (status.ok()) CheckOwn(caller, response);
  }

  void GetStats(const Caller& caller, absl::string_view bytes) {
    v1::GetStatsRequest request;
    if (!Parse(bytes, &request)) return;
    v1::Stats stats;
    ToProto(core()->Snapshot(caller, request.group_id()), &stats);
    CheckReadable(stats);
    for (const v1::SessionStats& session : stats.sessions()) CheckUid(caller, session.uid());
    for (const v1::GroupStats& group : stats.groups()) CheckUid(caller, group.group().uid());
  }

  static void WatchStats(absl::string_view bytes) {
    v1::WatchStatsRequest request;
    if (!Parse(bytes, &request)) return;
    const absl::StatusOr<absl::Duration> interval = WatchInterval(request);
    fuzz::CheckAnswer(interval.status());
    if (interval.ok()) A8A_CHECK(*interval >= absl::Milliseconds(10), absl::FormatDuration(*interval));
  }

  // --- Calls that wait ---

  // What a waiting call is to do with its answer; it counts as open until then.
  template <typename Response, typename Grant>
  std::function<void(absl::StatusOr<Grant>)> Answer(const Caller& caller) {
    ++*open_waits_;
    return [this, open = open_waits_, caller, once = std::make_shared<bool>(false)](absl::StatusOr<Grant> grant) {
      A8A_CHECK(!std::exchange(*once, true), "answered twice");
      --*open;
      fuzz::CheckAnswer(grant.status());
      if (!grant.ok()) return;
      Response response;
      ToProto(*grant, &response);
      CheckReadable(response);
      CheckOwn(caller, response);
    };
  }

  void JoinGroup(const Caller& caller, absl::string_view bytes) {
    v1::JoinGroupRequest request;
    if (!Parse(bytes, &request)) return;
    waits_.push_back(core()->JoinGroup(caller, request.session_id(), FromProto(request),
                                       Answer<v1::JoinGroupResponse, JoinGrant>(caller)));
  }

  void RegisterWindow(const Caller& caller, absl::string_view bytes) {
    v1::RegisterWindowRequest request;
    if (!Parse(bytes, &request)) return;
    waits_.push_back(core()->RegisterWindow(caller, request.session_id(), request.group_id(), FromProto(request),
                                            Answer<v1::RegisterWindowResponse, WindowGrant>(caller)));
  }

  void CancelWait(absl::string_view bytes) {
    if (waits_.empty() || bytes.empty()) return;
    const std::uint64_t wait = waits_[static_cast<std::uint8_t>(bytes[0]) % waits_.size()];
    if (wait != 0) core()->CancelPending(wait, absl::CancelledError("the caller went away"));
  }

  // --- What happens besides calls ---

  void EndProcess(absl::string_view bytes) {
    if (!bytes.empty()) core()->ProcessEnded(static_cast<std::uint8_t>(bytes[0]));
  }

  // And, by a second byte, memory that is short.
  void PassTime(absl::string_view bytes) {
    core_.clock.Advance(absl::Seconds(bytes.empty() ? 1 : static_cast<std::uint8_t>(bytes[0])));
    core()->Tick();
    if (bytes.size() < 2) return;
    core_.script->FailAllocations(/*count=*/1, absl::ResourceExhaustedError("no memory"), /*skip=*/bytes[1] & 3);
  }

  // While memory is allocated the core's lock is free, and others call. One byte for what, one for who, then the
  // message.
  void CallDuringAllocation(absl::string_view bytes) {
    if (bytes.size() < 2) return;
    core_.script->OnAllocate([this, call = std::string(bytes)] {
      const std::string once = call;  // the next line drops the hook
      core_.script->OnAllocate(nullptr);
      const Caller& caller = kCallers[static_cast<std::uint8_t>(once[1]) % std::size(kCallers)];
      Call(static_cast<std::uint8_t>(once[0]), caller, absl::string_view(once).substr(2));
    });
  }

  // --- Demands ---

  static void CheckUid(const Caller& caller, std::uint32_t uid) {
    A8A_CHECK(caller.administrator || caller.identity.uid == uid, absl::StrCat("shows what belongs to uid ", uid));
  }
  void CheckOwn(const Caller& caller, const v1::Buffer& buffer) { CheckUid(caller, uids_.at(buffer.session_id())); }
  void CheckOwn(const Caller& caller, const v1::RegisterBufferResponse& response) {
    CheckOwn(caller, response.buffer());
  }
  void CheckOwn(const Caller& caller, const v1::GetBufferResponse& response) { CheckOwn(caller, response.buffer()); }
  void CheckOwn(const Caller& caller, const v1::ListBuffersResponse& response) {
    for (const v1::Buffer& buffer : response.buffers()) CheckOwn(caller, buffer);
  }
  void CheckOwn(const Caller& caller, const v1::GetGroupResponse& response) {
    CheckUid(caller, response.group().uid());
  }
  void CheckOwn(const Caller& caller, const v1::ListGroupsResponse& response) {
    for (const v1::Group& group : response.groups()) CheckUid(caller, group.uid());
  }
  void CheckOwn(const Caller& caller, const v1::JoinGroupResponse& response) {
    A8A_CHECK(response.group().uid() == caller.identity.uid, "joined another uid's group");
    CheckRanks(caller, response.flags(), response.group().world_size());
  }
  void CheckOwn(const Caller& caller, const v1::RegisterWindowResponse& response) {
    CheckRanks(caller, response.buffers(), response.buffers_size());
  }
  template <typename Response>
  void CheckOwn(const Caller&, const Response&) {}  // shows nothing

  template <typename RankBuffers>
  void CheckRanks(const Caller& caller, const RankBuffers& buffers, int world_size) {
    A8A_CHECK(buffers.size() == world_size, "one buffer for each rank");
    for (const v1::RankBuffer& buffer : buffers) CheckOwn(caller, buffer.buffer());
  }

  // What the devices are said to have leased is what is there, and within the limit.
  void CheckAccounts() {
    std::int64_t leased_bytes = 0;
    for (const DeviceSnapshot& device : core()->Snapshot(kCallers[4], 0).devices) {
      A8A_CHECK(device.leased_bytes <= fuzz::FuzzedCore::kPoolLimitBytes, "more than the pool has");
      leased_bytes += device.leased_bytes;
    }
    A8A_CHECK(leased_bytes == core_.script->live_bytes(), "accounts and memory differ");
  }

  fuzz::FuzzedCore core_;
  std::map<std::uint64_t, std::uint32_t> uids_;  // by session
  std::vector<std::unique_ptr<AttachCall>> calls_;
  std::vector<std::uint64_t> waits_;
  std::shared_ptr<int> open_waits_ = std::make_shared<int>(0);
};

}  // namespace
}  // namespace a8a::daemon

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);  // it has a line for each string that is not UTF-8
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  a8a::fuzz::Input input(data, size);
  a8a::daemon::World world;
  for (int i = 0; i < a8a::daemon::kCallCountMax && !input.empty(); ++i) world.Step(&input);
  return 0;
}
