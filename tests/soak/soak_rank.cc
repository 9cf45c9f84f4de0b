// soak_rank RUNTIME_DIR SEED: one process of the soak. It takes orders as JSON objects, one a line, from standard
// input:
//   {"do": "join", "slot": 0, ...}   see Order in membership.h; several at once, each in a slot of its own
//   {"do": "leave", "slot": 0}, {"do": "abort", "slot": 0}
//   {"do": "exit"}                   without leaving anything
//   {"do": "quit"}                   after all memberships have ended: says goodbye, status 0
// and says on standard output what happens (reporter.h): "attached", "joined", "ended", "error", and "beat" each
// second. Besides, it leases buffers, and looks at what is in them. The end of standard input ends it at once.
#include <sys/resource.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "a8a/client.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/soak/membership.h"
#include "tests/soak/reporter.h"
#include "tests/soak/script.h"

namespace a8a::soak {
namespace {

constexpr int kExitWithoutLeaving = 3;  // the driver knows it
constexpr std::size_t kBuffersMax = 4;
constexpr std::int64_t kBufferBytesMax = 1 << 20;
constexpr absl::Duration kAttachPatience = absl::Seconds(30);

// A leased buffer and what was put into it.
class MarkedBuffer {
 public:
  MarkedBuffer(std::unique_ptr<a8a::Buffer> buffer, std::int64_t size_bytes, char mark)
      : buffer_(std::move(buffer)), size_bytes_(static_cast<std::size_t>(size_bytes)), mark_(mark) {
    std::memset(buffer_->data(), mark_, size_bytes_);
  }
  [[nodiscard]] absl::Status Check() const {
    const char* const bytes = reinterpret_cast<const char*>(buffer_->data());
    const bool same = bytes[0] == mark_ && std::memcmp(bytes, bytes + 1, size_bytes_ - 1) == 0;
    return same ? buffer_->status() : absl::DataLossError("a buffer does not hold what was put into it");
  }

 private:
  std::unique_ptr<a8a::Buffer> buffer_;
  std::size_t size_bytes_;
  char mark_;
};

class Rank {
 public:
  Rank(std::unique_ptr<a8a::Client> client, Reporter* reporter, std::uint64_t seed)
      : client_(std::move(client)), reporter_(reporter), random_(seed) {
    beat_ = std::thread([this] { RunBeat(); });
    buffers_ = std::thread([this] { RunBuffers(); });
  }

  ~Rank() {
    {
      const std::lock_guard lock(mutex_);
      over_ = true;
    }
    changed_.notify_all();
    beat_.join();
    buffers_.join();
    memberships_.clear();
  }

  // False: the end.
  bool Obey(const nlohmann::json& order) {
    const std::string what = order.at("do");
    if (what == "quit") return false;
    if (what == "exit") ::_exit(kExitWithoutLeaving);
    const int slot = order.at("slot");
    if (what == "join") {
      Replace(slot, nullptr);
      Replace(slot, std::make_unique<Membership>(client_.get(), reporter_, order.get<Order>()));
    } else if (const auto membership = memberships_.find(slot); membership != memberships_.end()) {
      what == "leave" ? membership->second->Leave() : membership->second->Abort();
    }
    return true;
  }

 private:
  // Only this thread changes them; the beat reads. The old one has ended, or does now.
  void Replace(int slot, std::unique_ptr<Membership> membership) {
    const std::lock_guard lock(mutex_);
    memberships_[slot].swap(membership);
    if (memberships_[slot] == nullptr) memberships_.erase(slot);
  }

  // False: over.
  bool WaitFor(std::chrono::milliseconds pause) {
    std::unique_lock lock(mutex_);
    return !changed_.wait_for(lock, pause, [this] { return over_; });
  }

  void RunBeat() {
    while (WaitFor(std::chrono::seconds(1))) {
      nlohmann::json progress = nlohmann::json::array();
      {
        const std::lock_guard lock(mutex_);
        for (const auto& [slot, membership] : memberships_) {
          if (nlohmann::json item = membership->Progress(); !item.is_null()) progress.push_back(std::move(item));
        }
      }
      Beat(std::move(progress));
    }
    Beat(nlohmann::json::array());
  }

  void Beat(nlohmann::json progress) {
    const Counters& counters = reporter_->counters;
    reporter_->Say({{"event", "beat"},
                    {"all_to_alls", counters.all_to_alls.load()},
                    {"prepares", counters.prepares.load()},
                    {"bytes_checked", counters.bytes_checked.load()},
                    {"windows", counters.windows.load()},
                    {"buffers", counters.buffers.load()},
                    {"running", std::move(progress)}});
  }

  void RunBuffers() {
    std::vector<MarkedBuffer> held;
    while (WaitFor(std::chrono::milliseconds(100 + random_.Below(900)))) {
      for (const MarkedBuffer& buffer : held) ReportBuffer("buffer", buffer.Check());
      if (held.size() >= kBuffersMax) held.erase(held.begin() + random_.Below(kBuffersMax));
      const std::int64_t size_bytes = 1 + random_.Below(kBufferBytesMax);
      auto buffer = client_->RegisterBuffer({.size_bytes = size_bytes, .device = a8a::Device::Host()});
      ReportBuffer("register_buffer", buffer.status());
      if (!buffer.ok()) continue;
      ++reporter_->counters.buffers;
      held.emplace_back(*std::move(buffer), size_bytes, static_cast<char>(1 + random_.Below(255)));
    }
  }

  void ReportBuffer(const char* op, const absl::Status& status) {
    if (!status.ok()) reporter_->SayError({{"slot", -1}, {"group", 0}, {"op", op}}, status);
  }

  const std::unique_ptr<a8a::Client> client_;
  Reporter* const reporter_;
  Random random_;  // of the buffers' thread
  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false;
  std::map<int, std::unique_ptr<Membership>> memberships_;
  std::thread beat_;
  std::thread buffers_;
};

// The daemon may be away.
std::unique_ptr<a8a::Client> Attach(const std::string& runtime_dir, Reporter* reporter) {
  const absl::Time until = absl::Now() + kAttachPatience;
  while (true) {
    auto client = a8a::Client::Connect({.runtime_dir = runtime_dir, .client_name = "soak_rank"});
    if (client.ok()) return *std::move(client);
    reporter->SayError({{"slot", -1}, {"group", 0}, {"op", "connect"}}, client.status());
    if (!absl::IsUnavailable(client.status()) || absl::Now() > until) ::_exit(EXIT_FAILURE);
    absl::SleepFor(absl::Milliseconds(200));
  }
}

int Main(const std::string& runtime_dir, std::uint64_t seed) {
  Reporter reporter;
  std::unique_ptr<a8a::Client> client = Attach(runtime_dir, &reporter);
  reporter.Say({{"event", "attached"}, {"session", client->session_id()}});
  Rank rank(std::move(client), &reporter, seed);
  std::string line;
  while (std::getline(std::cin, line)) {
    if (!rank.Obey(nlohmann::json::parse(line))) return EXIT_SUCCESS;
  }
  ::_exit(EXIT_FAILURE);
}

}  // namespace
}  // namespace a8a::soak

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: soak_rank RUNTIME_DIR SEED\n";
    return 2;
  }
  const rlimit no_core = {0, 0};
  ::setrlimit(RLIMIT_CORE, &no_core);
  return a8a::soak::Main(argv[1], std::strtoull(argv[2], nullptr, 10));
}
