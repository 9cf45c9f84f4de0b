// a8a-dp-mla: replays a decode load through both all-to-alls of data-parallel MLA and compares every byte.
#include <signal.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "client/examples/dp_mla/flags.h"
#include "client/examples/dp_mla/job.h"
#include "client/examples/dp_mla/report.h"
#include "client/examples/dp_mla/supervisor.h"
#include "client/examples/dp_mla/worker.h"
#include "client/tools/progress.h"
#include "client/tools/rank_processes.h"

namespace a8a::dp_mla {
namespace {

// False if it could not be written whole: a full disk, a reader that has gone.
bool Print(std::FILE* stream, const std::string& text) {
  return std::fputs(text.c_str(), stream) >= 0 && std::fflush(stream) == 0;
}

void PrintError(const absl::Status& status) {
  Print(stderr, absl::StrCat("a8a-dp-mla: ", std::string(status.message()), "\n"));
}

int Fail(const Options& options, const absl::Status& status, int exit_status) {
  PrintError(status);
  if (options.json) Print(stdout, FailureJson(std::string(status.message())));
  return exit_status;
}

// Ends this process by `signal`, as it would have ended without the cleaning up.
[[noreturn]] void EndBySignal(int signal) {
  Print(stderr, absl::StrCat("a8a-dp-mla: interrupted by SIG", ::sigabbrev_np(signal), ", all workers ended\n"));
  ::signal(signal, SIG_DFL);
  ::raise(signal);
  std::abort();
}

int Report(const Options& options, const RunReport& report) {
  const bool right = !report.first_mismatch.has_value();
  bool written = !options.json || Print(stdout, ReportJson(report));
  if (!options.json || !options.quiet) {
    const bool table_written = Print(options.json ? stderr : stdout, ReportTable(report));
    written = written && (table_written || options.json);
  }
  if (!written) {
    PrintError(absl::UnknownError("the result could not be written to standard output"));
    return kExitFailed;
  }
  if (!right) Print(stderr, absl::StrCat("a8a-dp-mla: mismatch: ", Describe(*report.first_mismatch), "\n"));
  return right ? kExitOk : kExitFailed;
}

int RunAndReport(const Options& options, const PlannedJob& planned) {
  const absl::StatusOr<std::unique_ptr<Job>> job = Job::Create(planned.config, planned.tokens);
  if (!job.ok()) return Fail(options, job.status(), kExitFailed);
  const absl::Time start = absl::Now();
  RunOutcome outcome;
  {
    tools::Progress progress(options.quiet ? tools::Progress::Verbosity::kQuiet : tools::Progress::Verbosity::kShown);
    outcome = RunJob(**job, absl::StrSplit(options.launcher, ' ', absl::SkipEmpty()), &progress);
  }
  if (outcome.interrupted_by != 0) EndBySignal(outcome.interrupted_by);
  if (!outcome.status.ok()) return Fail(options, outcome.status, kExitFailed);
  return Report(options, MakeReport(**job, options.trace, absl::ToDoubleSeconds(absl::Now() - start)));
}

int Main(int argc, char** argv) {
  if (const auto rank = tools::RankInvocation::FromArguments(argc, argv)) return RunRank(rank->rank, rank->shared_fd);
  Options options;
  if (const std::optional<int> status = ParseFlags(argc, argv, &options)) return *status;
  const absl::StatusOr<PlannedJob> planned = PlanJob(options);
  if (!planned.ok()) return Fail(options, planned.status(), kExitUsage);
  return RunAndReport(options, *planned);
}

}  // namespace
}  // namespace a8a::dp_mla

int main(int argc, char** argv) { return a8a::dp_mla::Main(argc, argv); }
