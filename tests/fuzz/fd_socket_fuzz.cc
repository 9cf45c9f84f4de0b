// fd.sock, from both sides: what clients send and hand back to a real FdServer, and what a daemon sends to the client's
// FdConnection.
// Each message is compared with what the protocol (proto/fd_protocol.h) says of it, and no descriptor is left behind.
//
// Input: one byte for the side, then messages; each is a FdRequest or FdReply that is right but for what the input
// changes in it, or bytes as they come.
#include <fcntl.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/src/fd_connection.h"
#include "daemon/core/core_state.h"
#include "daemon/fd_server.h"
#include "tests/fakes/fake_memory_provider.h"
#include "tests/fuzz/checks.h"
#include "tests/fuzz/fuzzed_core.h"
#include "tests/fuzz/input.h"

namespace a8a::daemon {
namespace {

using fuzz::Input;

constexpr int kMessageCountMax = 32;
// Fewer than the daemon closes at the same time (ForeignFdCloser): one more would be refused, now and then.
constexpr int kHandBackCountMax = 12;
constexpr int kDescriptorCountMax = 11;  // more than FdConnection has room for
constexpr std::int64_t kBufferBytes = 4096;
// How long a thread of a machine that is busy elsewhere may take.
constexpr timeval kAnswerTimeout = {.tv_sec = 20, .tv_usec = 0};

// --- Messages ---

struct Message {
  std::string bytes;
  int descriptor_count = 0;
};

// `right` as bytes, with one byte changed and the end cut off or something added, as the input says.
Message Vary(absl::string_view right, Input* input) {
  Message message{std::string(right)};
  const std::size_t place = input->Byte();
  const char change = static_cast<char>(input->Byte());
  if (place < message.bytes.size()) message.bytes[place] = static_cast<char>(message.bytes[place] ^ change);
  const int surplus = static_cast<std::int8_t>(input->Byte());
  message.bytes.resize(static_cast<std::size_t>(std::max(0, static_cast<int>(right.size()) + surplus)));
  message.descriptor_count = input->Byte() % (kDescriptorCountMax + 1);
  return message;
}

template <typename T>
absl::string_view BytesOf(const T& value) {
  return {reinterpret_cast<const char*>(&value), sizeof(value)};
}

bool Send(int socket, const Message& message, int descriptor) {
  std::vector<int> descriptors(static_cast<std::size_t>(message.descriptor_count), descriptor);
  const std::size_t descriptor_bytes = descriptors.size() * sizeof(int);
  iovec part = {.iov_base = const_cast<char*>(message.bytes.data()), .iov_len = message.bytes.size()};
  msghdr header = {};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kDescriptorCountMax * sizeof(int))> control = {};
  if (!descriptors.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(descriptor_bytes);
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(descriptor_bytes);
    std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptor_bytes);
  }
  return ::sendmsg(socket, &header, MSG_NOSIGNAL) >= 0;
}

// --- What clients send ---

Identity Self() { return {.uid = ::getuid(), .gid = ::getgid(), .pid = ::getpid()}; }

// A core behind a real server.
struct Daemon {
  fuzz::FuzzedCore core;
  Settings settings{CommandLine(), Options()};
  UidCounter descriptors;
  std::unique_ptr<FdServer> server;
  sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
  socklen_t address_bytes = 0;

  // `name` is the socket's, an abstract one: nothing stays behind.
  explicit Daemon(const std::string& name) {
    name.copy(address.sun_path + 1, name.size());
    address_bytes = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  }
  void Serve() {
    UniqueFd listener(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    A8A_CHECK(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), address_bytes) == 0, "bind");
    A8A_CHECK(::listen(listener.get(), 16) == 0, "listen");
    server = FdServer::Start(std::move(listener), &settings, core.core.get(), &descriptors).value();
  }
};

// Lives as long as the process; each input has a session of its own.
Daemon& TheDaemon() {
  static auto* const daemon = [] {
    auto* const made = new Daemon(absl::StrCat("a8a-fuzz-", ::getpid()));
    made->Serve();
    return made;
  }();
  return *daemon;
}

struct Answer {
  bool end = false;
  FdReply reply = {};
  std::optional<UniqueFd> descriptor = std::nullopt;
};

bool IsHandBack(FdRequestKind kind) {
  return kind == FdRequestKind::kHandBackBuffer || kind == FdRequestKind::kHandBackControl;
}

// The request in `message`, if it is one and no descriptor comes with it but where one may.
std::optional<FdRequest> RequestOf(const Message& message) {
  FdRequest request = {};
  if (message.bytes.size() != sizeof(request)) return std::nullopt;
  std::memcpy(&request, message.bytes.data(), sizeof(request));
  if (request.magic != kFdMagic || request.kind > FdRequestKind::kHandBackDone) return std::nullopt;
  return request;
}

// A client's connection. What it checks of every answer is the protocol's form.
class Connection {
 public:
  explicit Connection(const Daemon* daemon) : daemon_(daemon) { Connect(); }

  void Connect() {
    socket_ = UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
    ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &kAnswerTimeout, sizeof(kAnswerTimeout));
    const auto* address = reinterpret_cast<const sockaddr*>(&daemon_->address);
    A8A_CHECK(::connect(socket_.get(), address, daemon_->address_bytes) == 0, "connect");
  }

  // Returns once the server has closed its end too.
  void Close() {
    ::shutdown(socket_.get(), SHUT_WR);
    A8A_CHECK(Receive().end, "an answer to nothing");
    socket_.Reset();
  }

  // What the daemon answers to `message` with copies of `descriptor`. After what is no request the connection ends, and
  // there is a new one; `is_request` is what the caller expects.
  Answer Ask(const Message& message, int descriptor, bool is_request) {
    A8A_CHECK(Send(socket_.get(), message, descriptor), absl::StrCat("send: ", std::strerror(errno)));
    Answer answer = Receive();
    const bool nothing = message.bytes.empty() && message.descriptor_count == 0;  // as the end of the connection
    A8A_CHECK(answer.end == nothing, absl::StrCat("end ", answer.end));
    if (!nothing) CheckForm(answer);
    if (is_request) return answer;
    if (!nothing) A8A_CHECK(Receive().end, "the connection goes on after what is no request");
    socket_.Reset();
    Connect();
    return answer;
  }

 private:
  static void CheckForm(const Answer& answer) {
    const FdReply& reply = answer.reply;
    A8A_CHECK(reply.magic == kFdMagic, "the reply's magic");
    A8A_CHECK(reply.message[kFdMessageBytes - 1] == 0, "the reply's text has no end");
    fuzz::CheckAnswer(absl::Status(static_cast<absl::StatusCode>(reply.code), reply.message));
  }

  [[nodiscard]] Answer Receive() const {
    Answer answer;
    iovec part = {.iov_base = &answer.reply, .iov_len = sizeof(answer.reply)};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(4 * sizeof(int))> control = {};
    msghdr header = {};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    ssize_t size = -1;
    do {  // the fuzzer has a timer
      size = ::recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC);
    } while (size < 0 && errno == EINTR);
    A8A_CHECK(size >= 0, absl::StrCat("no answer: ", std::strerror(errno)));
    answer.end = size == 0;
    A8A_CHECK(answer.end || size == sizeof(FdReply), absl::StrCat("an answer of ", size, " bytes"));
    const cmsghdr* rights = CMSG_FIRSTHDR(&header);
    if (rights == nullptr) return answer;
    A8A_CHECK(rights->cmsg_type == SCM_RIGHTS && rights->cmsg_len == CMSG_LEN(sizeof(int)), "one descriptor");
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof(fd));
    answer.descriptor = UniqueFd(fd);
    return answer;
  }

  const Daemon* const daemon_;
  UniqueFd socket_;
};

class Requests {
 public:
  Requests() : own_(Attach(Self())), foreign_(Attach({.uid = 1, .gid = 1, .pid = 1})) {}

  ~Requests() {
    connection_.Close();
    for (const auto& [caller, session_id] : {own_, foreign_}) {
      A8A_CHECK(core().Detach(caller, session_id).ok(), "detach");
    }
  }
  Requests(const Requests&) = delete;
  Requests& operator=(const Requests&) = delete;

  void Step(Input* input) {
    switch (input->Byte() % 6) {
      case 0:
        return Register(own_);
      case 1:
        return Register(foreign_);
      case 2:
        return SendAndCheck(Request(input), input);
      case 3: {
        const absl::string_view piece = input->Piece();
        return SendAndCheck(piece, input);
      }
      case 4:
        connection_.Close();
        return connection_.Connect();
      case 5:
        // Half of a ticket's life.
        daemon_.core.clock.Advance(absl::Seconds(5));
        for (Grant& grant : grants_) --grant.steps_left;
        return;
    }
  }

 private:
  using Owner = std::pair<Caller, std::uint64_t>;
  struct Grant {
    std::uint64_t session_id = 0;
    TicketGrant ticket;
    int steps_left = 2;
    bool used = false;
  };

  [[nodiscard]] Core& core() const { return *daemon_.core.core; }

  Owner Attach(const Identity& identity) const {
    const Caller caller = {.identity = identity, .administrator = false};
    return {caller, core().Attach(caller, "fuzz", nullptr).value().session_id};
  }

  void Register(const Owner& owner) {
    const auto grant = core().RegisterBuffer(owner.first, owner.second, "host", kBufferBytes, "fuzz");
    if (grant.ok()) grants_.push_back({.session_id = owner.second, .ticket = grant->ticket});
  }

  // A request that is right but for which ticket and session it names.
  [[nodiscard]] std::string Request(Input* input) const {
    FdRequest request = {.magic = kFdMagic, .kind = FdRequestKind::kRedeem, .session_id = own_.second, .argument = {}};
    const std::uint8_t choice = input->Byte();
    if ((choice & 0x80) != 0) request.session_id = foreign_.second;
    if ((choice & 0x40) != 0) request.session_id = ~std::uint64_t{0};
    const std::size_t index = choice & 0x3f;
    if (index < grants_.size()) std::memcpy(request.argument, grants_[index].ticket.value.data(), kTicketBytes);
    return std::string(BytesOf(request));
  }

  void SendAndCheck(absl::string_view right, Input* input) {
    const Message message = Vary(right, input);
    const Answer answer = connection_.Ask(message, STDERR_FILENO, IsRequest(message));
    if (!answer.end) CheckReply(message, answer);
  }

  // This daemon was not restarted: it takes no descriptors.
  static bool IsRequest(const Message& message) {
    return message.descriptor_count == 0 && RequestOf(message).has_value();
  }

  void CheckReply(const Message& message, const Answer& answer) {
    const FdReply& reply = answer.reply;
    A8A_CHECK(static_cast<absl::StatusCode>(reply.code) == Expected(message),
              absl::StrCat("code ", reply.code, ": ", reply.message));
    A8A_CHECK(answer.descriptor.has_value() == (reply.code == 0), "a descriptor comes with a redeemed ticket only");
    if (reply.code != 0) return;
    A8A_CHECK(reply.size_bytes == kBufferBytes, "the buffer's size");
    A8A_CHECK(::lseek(answer.descriptor->get(), 0, SEEK_END) == kBufferBytes, "the descriptor's size");
  }

  // Uses the ticket up, if it is a good one.
  absl::StatusCode Expected(const Message& message) {
    if (!IsRequest(message)) return absl::StatusCode::kInvalidArgument;
    const FdRequest request = *RequestOf(message);
    if (IsHandBack(request.kind)) return absl::StatusCode::kInvalidArgument;  // nothing came with it
    if (request.session_id == foreign_.second) return absl::StatusCode::kPermissionDenied;
    if (request.session_id != own_.second) return absl::StatusCode::kNotFound;
    if (request.kind == FdRequestKind::kHandBackDone) return absl::StatusCode::kFailedPrecondition;
    for (Grant& grant : grants_) {
      if (std::memcmp(grant.ticket.value.data(), request.argument, kTicketBytes) != 0 || grant.used) continue;
      if (grant.session_id != own_.second) return absl::StatusCode::kPermissionDenied;
      grant.used = true;
      return grant.steps_left > 0 ? absl::StatusCode::kOk : absl::StatusCode::kNotFound;
    }
    return absl::StatusCode::kNotFound;
  }

  Daemon& daemon_ = TheDaemon();
  const Owner own_;
  const Owner foreign_;
  std::vector<Grant> grants_;
  Connection connection_{&daemon_};
};

// --- What clients hand back ---

// A daemon that was restarted, and a session that has fetched all it holds from the one before: two buffers, and the
// flags and the control segment of a group. It hands back right and wrong descriptors of them in any order.
class HandBacks {
 public:
  HandBacks() {
    fuzz::FuzzedCore earlier;
    const Caller caller = {.identity = Self(), .administrator = false};
    session_id_ = earlier.core->Attach(caller, "fuzz", nullptr).value().session_id;
    for (int i = 0; i < 2; ++i) {
      FetchBuffer(earlier.core.get(),
                  earlier.core->RegisterBuffer(caller, session_id_, "host", kBufferBytes, "fuzz").value());
    }
    const JoinOptions join = {
        .name = "g", .rank = 0, .world_size = 1, .channel_count = 1, .device = "host", .secret = ""};
    earlier.core->JoinGroup(caller, session_id_, join, [&](const absl::StatusOr<JoinGrant>& grant) {
      FetchBuffer(earlier.core.get(), grant.value().flags[0]);
      Fetch(earlier.core.get(), FdRequestKind::kHandBackControl, {grant->group.group_id, 0}, grant->control);
    });
    const CoreState state = earlier.core->Export();
    earlier.core->LetGo();
    Core::KeptDescriptors kept;
    A8A_CHECK(daemon_.core.core->Restore(state, &kept).ok(), "restore");
    daemon_.Serve();
    connection_.emplace(&daemon_);
  }
  ~HandBacks() { connection_->Close(); }
  HandBacks(const HandBacks&) = delete;
  HandBacks& operator=(const HandBacks&) = delete;

  void Step(Input* input) {
    const std::size_t named = input->Byte() % (objects_.size() + 1);
    const std::size_t sent = input->Byte() % (objects_.size() + 1);
    FdRequest request = {
        .magic = kFdMagic, .kind = FdRequestKind::kHandBackDone, .session_id = session_id_, .argument = {}};
    if (named < objects_.size()) {
      request.kind = objects_[named].kind;
      std::memcpy(request.argument, &objects_[named].id, sizeof(FdHandBack));
    }
    const Message message = Vary(BytesOf(request), input);
    const int descriptor = sent < objects_.size() ? objects_[sent].fd.get() : STDERR_FILENO;
    const bool is_request = IsRequest(message);
    const Answer answer = connection_->Ask(message, descriptor, is_request);
    if (answer.end) return;
    A8A_CHECK(!answer.descriptor.has_value(), "a descriptor comes with a redeemed ticket only");
    const bool ok = answer.reply.code == 0;
    A8A_CHECK(ok == (is_request && IsRight(*RequestOf(message), message.descriptor_count, descriptor)),
              absl::StrCat("code ", answer.reply.code, ": ", answer.reply.message));
  }

 private:
  struct Object {
    FdRequestKind kind;
    FdHandBack id;
    UniqueFd fd;
    bool back = false;
  };

  void FetchBuffer(Core* core, const LeaseGrant& grant) {
    Fetch(core, FdRequestKind::kHandBackBuffer, {grant.buffer.buffer_id, grant.buffer.generation}, grant.ticket);
  }
  void Fetch(Core* core, FdRequestKind kind, const FdHandBack& id, const TicketGrant& ticket) {
    objects_.push_back(
        {.kind = kind, .id = id, .fd = std::move(core->RedeemTicket(Self(), session_id_, ticket.value).value().fd)});
  }

  // A descriptor may come where one is to be handed back, while there is something to.
  [[nodiscard]] bool IsRequest(const Message& message) const {
    const std::optional<FdRequest> request = RequestOf(message);
    if (!request.has_value() || message.descriptor_count == 0) return request.has_value();
    return message.descriptor_count == 1 && IsHandBack(request->kind) && request->session_id == session_id_ && !done_;
  }

  // Whether the daemon must say OK; it has what was handed back from then on.
  bool IsRight(const FdRequest& request, int descriptor_count, int descriptor) {
    if (request.session_id != session_id_ || done_) return false;
    if (request.kind == FdRequestKind::kHandBackDone) return done_ = true;
    if (descriptor_count == 0) return false;
    for (Object& object : objects_) {
      const bool named = request.kind == object.kind && IsNamed(object, request);
      if (named) return object.back = object.back || descriptor == object.fd.get();
    }
    return false;
  }

  static bool IsNamed(const Object& object, const FdRequest& request) {
    FdHandBack id = {};
    std::memcpy(&id, request.argument, sizeof(id));
    const bool any_generation = object.kind == FdRequestKind::kHandBackControl;  // it has none
    return id.id == object.id.id && (any_generation || id.generation == object.id.generation);
  }

  Daemon daemon_{absl::StrCat("a8a-fuzz-restarted-", ::getpid())};
  std::uint64_t session_id_ = 0;
  std::vector<Object> objects_;
  bool done_ = false;
  std::optional<Connection> connection_;
};

// --- What a daemon sends ---

// Whether a client may take `message` for a descriptor.
bool IsGrant(const Message& message) {
  if (message.bytes.size() != sizeof(FdReply) || message.descriptor_count != 1) return false;
  FdReply reply = {};
  std::memcpy(&reply, message.bytes.data(), sizeof(reply));
  return reply.magic == kFdMagic && reply.code == 0;
}

// The client asks and gets `message`, after which the daemon is gone.
void AnswerWith(const Message& message) {
  int ends[2] = {-1, -1};
  A8A_CHECK(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
  UniqueFd daemon_end(ends[0]);
  client::FdConnection connection(UniqueFd(ends[1]), "fd.sock");
  A8A_CHECK(Send(daemon_end.get(), message, daemon_end.get()), absl::StrCat("send: ", std::strerror(errno)));
  ::shutdown(daemon_end.get(), SHUT_WR);
  const auto redeemed = connection.Redeem(1, std::string(kTicketBytes, 't'), "a buffer", absl::InfiniteFuture());
  A8A_CHECK(redeemed.ok() == IsGrant(message), redeemed.status().ToString());
  if (redeemed.ok()) A8A_CHECK(::fcntl(redeemed->fd.get(), F_GETFD) == FD_CLOEXEC, "closed on exec");
}

struct Replies {
  static void Step(Input* input) {
    const FdReply reply = {.magic = kFdMagic, .code = 0, .size_bytes = kBufferBytes, .message = {}};
    if ((input->Byte() & 1) == 0) return AnswerWith(Vary(BytesOf(reply), input));
    const absl::string_view piece = input->Piece();
    AnswerWith(Vary(piece, input));
  }
};

// Descriptors of this process, but for pipes: libFuzzer keeps two to a symbolizer that it starts at some time.
int OpenDescriptorCount() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;  // of one that was closed meanwhile
    const std::string what = std::filesystem::read_symlink(entry.path(), error).string();
    if (!error && !absl::StartsWith(what, "pipe:")) ++count;
  }
  return count;
}

// After the daemon's threads have started: the number that stays for a while.
int OpenDescriptorCountAtRest() {
  int count = OpenDescriptorCount();
  for (absl::Time since = absl::Now(); absl::Now() < since + absl::Milliseconds(200); ::sched_yield()) {
    if (const int now = OpenDescriptorCount(); now != count) {
      count = now;
      since = absl::Now();
    }
  }
  return count;
}

// What was handed back and not needed is closed by threads that nobody waits for.
bool Settles(int open_count) {
  const absl::Time deadline = absl::Now() + absl::Seconds(kAnswerTimeout.tv_sec);
  while (OpenDescriptorCount() != open_count && absl::Now() < deadline) ::sched_yield();
  return OpenDescriptorCount() == open_count;
}

template <typename Side>
void Run(Input* input, int step_count_max) {
  Side side;
  for (int i = 0; i < step_count_max && !input->empty(); ++i) side.Step(input);
}

}  // namespace
}  // namespace a8a::daemon

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace a8a::daemon;
  TheDaemon();
  // Once: an input may begin while the daemon still takes a connection that the input before has closed.
  static const int open_count = OpenDescriptorCountAtRest();
  Input input(data, size);
  switch (input.Byte() % 3) {
    case 0:
      Run<Requests>(&input, kMessageCountMax);
      break;
    case 1:
      Run<Replies>(&input, kMessageCountMax);
      break;
    case 2:
      Run<HandBacks>(&input, kHandBackCountMax);
      break;
  }
  A8A_CHECK(Settles(open_count), "a descriptor was left open");
  return 0;
}
