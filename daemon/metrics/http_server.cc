#include "daemon/metrics/http_server.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <list>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "daemon/acceptor.h"
#include "daemon/failpoint.h"
#include "kernels/base/status_macros.h"

namespace a8a::daemon {
namespace {

// Tags of a transport's two descriptors in the epoll set: its listener and, one more, libmicrohttpd's own epoll set.
constexpr std::uint64_t kTagsPerTransport = 2;
// How soon a request that takes too long is ended.
constexpr absl::Duration kTick = absl::Milliseconds(500);
constexpr int kBatchConnections = 16;
constexpr int kBacklog = 16;

// libmicrohttpd's messages are about what clients send.
void DropMessage(void* /*context*/, const char* /*format*/, va_list /*arguments*/) {}

// Fails where the client was faster.
void ShutDown(int socket) { static_cast<void>(A8A_FAILPOINT("http_server.shutdown", ::shutdown(socket, SHUT_RDWR))); }

struct Answer {
  unsigned int code;
  std::string text;
  const char* content_type;
};

MHD_Result Send(MHD_Connection* connection, const Answer& answer) {
  MHD_Response* const response =
      MHD_create_response_from_buffer(answer.text.size(), const_cast<char*>(answer.text.data()), MHD_RESPMEM_MUST_COPY);
  if (response == nullptr) return MHD_NO;
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, answer.content_type);
  MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close");
  if (answer.code == MHD_HTTP_METHOD_NOT_ALLOWED) MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
  const MHD_Result result = MHD_queue_response(connection, answer.code, response);
  MHD_destroy_response(response);
  return result;
}

}  // namespace

// One listener and the connections that came from it, so that those of one cannot crowd out those of another. Used by
// the server's thread only.
class HttpServer::Transport {
 public:
  Transport(UniqueFd listener, const Options* options) : options_(options), acceptor_(std::move(listener)) {}
  ~Transport() {
    if (daemon_ != nullptr) MHD_stop_daemon(daemon_);
  }
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  [[nodiscard]] absl::Status Open(EpollThread* thread, std::uint64_t first_tag) {
    daemon_ = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, /*port=*/0, /*apc=*/nullptr, nullptr,
                               &Transport::OnRequest, this, MHD_OPTION_CONNECTION_LIMIT,
                               static_cast<unsigned int>(kConnectionMax), MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                               kConnectionBytesMax, MHD_OPTION_NOTIFY_CONNECTION, &Transport::OnConnection, this,
                               MHD_OPTION_EXTERNAL_LOGGER, &DropMessage, nullptr, MHD_OPTION_END);
    if (daemon_ == nullptr) return absl::ResourceExhaustedError("cannot start the HTTP server of the metrics");
    const MHD_DaemonInfo* const info = MHD_get_daemon_info(daemon_, MHD_DAEMON_INFO_EPOLL_FD);
    A8A_RETURN_IF_ERROR(thread->Add(acceptor_.fd(), first_tag));
    return thread->Add(info->epoll_fd, first_tag + 1);
  }

  void AcceptPending() {
    for (int i = 0; i < kBatchConnections; ++i) {
      UniqueFd socket = acceptor_.Accept();
      if (!socket.valid()) return;
      if (connections_.size() >= kConnectionMax) EndOldest();
      sockaddr_in nobody = {};
      nobody.sin_family = AF_INET;
      // Takes the socket, also when it fails. The address is for its access control, which is not used.
      MHD_add_connection(daemon_, socket.Release(), reinterpret_cast<const sockaddr*>(&nobody), sizeof(nobody));
    }
    Work();
  }

  // As long as there is something to do that no descriptor will tell of.
  void Work() {
    MHD_UNSIGNED_LONG_LONG timeout_ms = 0;
    do {
      MHD_run(daemon_);
    } while (MHD_get_timeout(daemon_, &timeout_ms) == MHD_YES && timeout_ms == 0);
  }

  void EndLate() {
    while (!connections_.empty() && connections_.front().deadline <= absl::Now()) EndOldest();
    Work();
  }

 private:
  struct OpenConnection {
    MHD_Connection* connection = nullptr;
    int socket = -1;
    absl::Time deadline;
  };

  void EndOldest() {
    // libmicrohttpd then closes it, and says so to OnConnection.
    ShutDown(connections_.front().socket);
    connections_.pop_front();
    Work();
  }

  static void OnConnection(void* self, MHD_Connection* connection, void** /*context*/,
                           MHD_ConnectionNotificationCode code) {
    auto& connections = static_cast<Transport*>(self)->connections_;
    if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
      connections.remove_if([connection](const OpenConnection& open) { return open.connection == connection; });
      return;
    }
    const MHD_ConnectionInfo* const info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    connections.push_back({connection, info->connect_fd, absl::Now() + kRequestTimeout});
  }

  // Called when the headers are there; what follows them is not read.
  static MHD_Result OnRequest(void* self, MHD_Connection* connection, const char* url, const char* method,
                              const char* /*version*/, const char* /*upload*/, std::size_t* /*upload_bytes*/,
                              void** /*context*/) {
    return Send(connection, static_cast<Transport*>(self)->AnswerTo(url, method));
  }

  [[nodiscard]] Answer AnswerTo(absl::string_view url, absl::string_view method) const {
    static constexpr char kPlain[] = "text/plain; charset=utf-8";
    if (method != MHD_HTTP_METHOD_GET && method != MHD_HTTP_METHOD_HEAD) {
      return {MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD are served here\n", kPlain};
    }
    if (url != "/metrics") return {MHD_HTTP_NOT_FOUND, "the metrics of a8a-daemon are at /metrics\n", kPlain};
    return {MHD_HTTP_OK, options_->render(), options_->content_type.c_str()};
  }

  const Options* const options_;
  Acceptor acceptor_;
  MHD_Daemon* daemon_ = nullptr;
  std::list<OpenConnection> connections_;  // the oldest first
};

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(Options options) {
  std::unique_ptr<HttpServer> server(new HttpServer(std::move(options)));
  A8A_RETURN_IF_ERROR(server->Open());
  return server;
}

HttpServer::HttpServer(Options options) : options_(std::move(options)) {}

HttpServer::~HttpServer() = default;

absl::Status HttpServer::Open() {
  A8A_ASSIGN_OR_RETURN(thread_, EpollThread::Create());
  for (UniqueFd& listener : options_.listeners) {
    transports_.push_back(std::make_unique<Transport>(std::move(listener), &options_));
    A8A_RETURN_IF_ERROR(transports_.back()->Open(thread_.get(), (transports_.size() - 1) * kTagsPerTransport));
  }
  const auto on_readable = [this](std::uint64_t tag) {
    Transport* const transport = transports_[tag / kTagsPerTransport].get();
    return tag % kTagsPerTransport == 0 ? transport->AcceptPending() : transport->Work();
  };
  const auto on_tick = [this] {
    for (const auto& transport : transports_) transport->EndLate();
  };
  return thread_->Start("a8a-metrics", {.on_readable = on_readable, .on_tick = on_tick, .tick = kTick});
}

absl::StatusOr<UniqueFd> ListenOnLoopback(int port) {
  UniqueFd socket(
      A8A_FAILPOINT("http_server.socket", ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
  const std::string where = absl::StrCat("127.0.0.1:", port, " (metrics.port)");
  if (!socket.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot make a socket for ", where));
  // So that a restart need not wait until connections of the daemon before are forgotten.
  const int on = 1;
  static_cast<void>(
      A8A_FAILPOINT("http_server.setsockopt", ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on))));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (A8A_FAILPOINT("http_server.bind",
                    ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address))) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot bind ", where));
  }
  if (A8A_FAILPOINT("http_server.listen", ::listen(socket.get(), kBacklog)) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot listen on ", where));
  }
  return socket;
}

}  // namespace a8a::daemon
