// Serves one page over HTTP, at GET /metrics, on sockets that listen already. One thread serves them all.
//
// No client can hold it up: a connection serves one request, ends after kRequestTimeout whatever comes of it, and has
// kConnectionBytesMax for its headers; at most kConnectionMax are open on each socket, and one more ends the oldest.
#ifndef A8A_DAEMON_METRICS_HTTP_SERVER_H_
#define A8A_DAEMON_METRICS_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "daemon/epoll_thread.h"
#include "kernels/base/unique_fd.h"

namespace a8a::daemon {

class HttpServer {
 public:
  // Scrapers come one at a time; some more are people.
  static constexpr int kConnectionMax = 16;
  static constexpr std::size_t kConnectionBytesMax = 16 * 1024;
  static constexpr absl::Duration kRequestTimeout = absl::Seconds(5);

  struct Options {
    std::vector<UniqueFd> listeners;  // non-blocking
    // Called on the server's thread.
    std::function<std::string()> render;
    std::string content_type;
  };
  // Errors: RESOURCE_EXHAUSTED (descriptors or threads).
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<HttpServer>> Start(Options options);

  // Ends the thread and closes the listeners and all connections.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

 private:
  class Transport;

  explicit HttpServer(Options options);
  [[nodiscard]] absl::Status Open();

  Options options_;
  std::vector<std::unique_ptr<Transport>> transports_;
  // Last, so that the thread ends first.
  std::unique_ptr<EpollThread> thread_;
};

// Listens on 127.0.0.1. Errors: those of the system, naming the port.
[[nodiscard]] absl::StatusOr<UniqueFd> ListenOnLoopback(int port);

}  // namespace a8a::daemon

#endif  // A8A_DAEMON_METRICS_HTTP_SERVER_H_
