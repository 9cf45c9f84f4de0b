#include <utility>

#include "absl/strings/str_cat.h"
#include "daemon/core/core_impl.h"
#include "daemon/core/validation.h"
#include "kernels/base/status_macros.h"
#include "kernels/include/limits.h"

namespace a8a::daemon {
namespace {

bool SameProcess(const Identity& a, const Identity& b) { return a.uid == b.uid && a.pid == b.pid; }

absl::Status CheckOwner(const Caller& caller, const Session& session) {
  if (SameProcess(caller.identity, session.info.identity)) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("session ", session.info.session_id,
                                                  " belongs to another process than ", caller.identity.pid, " of uid ",
                                                  caller.identity.uid));
}

absl::Status NoSession(std::uint64_t session_id) {
  return absl::NotFoundError(absl::StrCat("no session ", session_id, ": it never was, or has ended"));
}

}  // namespace

absl::StatusOr<Session*> Core::Impl::FindSessionLocked(const Caller& caller, std::uint64_t session_id) {
  const auto found = sessions.find(session_id);
  if (found == sessions.end() && let_go) return absl::UnavailableError("the daemon restarts; try again");
  if (found == sessions.end()) return NoSession(session_id);
  A8A_RETURN_IF_ERROR(CheckOwner(caller, found->second));
  return &found->second;
}

void Core::Impl::SendLocked(std::uint64_t session_id, SessionEvent event, Deferred* after) {
  const auto found = sessions.find(session_id);
  if (found == sessions.end() || found->second.outbox == nullptr) return;
  found->second.outbox->Put(std::move(event));
  after->Run([outbox = found->second.outbox] { outbox->Flush(); });
}

void Core::Impl::CatchUpLocked(const Session& session, Deferred* after) {
  const std::uint64_t session_id = session.info.session_id;
  for (const BufferRevokedEvent& event : session.revoked) SendLocked(session_id, event, after);
  for (const auto& [group_id, group] : groups) {
    const std::optional<int> rank = group.RankOf(session_id);
    if (group.state != GroupState::kAborted || !rank.has_value() || *rank == group.end_rank) continue;
    SendLocked(session_id, GroupAbortedEvent{group_id, group.end_reason, group.end_rank, group.end_text}, after);
  }
  if (draining) {
    SendLocked(session_id, DrainingEvent{DrainTimeLeftLocked()}, after);
  } else if (session.told_to_drain) {
    SendLocked(session_id, UndrainedEvent{}, after);
  }
}

void Core::Impl::Log(absl::string_view name, Fields fields, Deferred* after) {
  if (!logger) return;
  after->Run([this, event = CoreEvent{name, std::move(fields)}] { logger(event); });
}

absl::Status Core::Impl::CheckNotDrainingLocked(absl::string_view what) {
  if (!draining) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("the daemon is draining and takes no new ", what));
}

void Core::Impl::EndSessionLocked(std::uint64_t session_id, EndReason reason, const absl::Status& status,
                                  Deferred* after) {
  // Tickets first, so that nothing can be fetched any more; groups before leases, because a group's end is what tells
  // the other ranks to stop using this one's memory. Copies, because both maps change on the way.
  tickets.DropSession(session_id);
  std::vector<std::uint64_t> group_of_session;
  for (const auto& [group_id, group] : groups) {
    if (group.RankOf(session_id).has_value()) group_of_session.push_back(group_id);
  }
  for (const std::uint64_t group_id : group_of_session) {
    Group* group = &groups.at(group_id);
    RemoveRankLocked(group, *group->RankOf(session_id), reason, after);
  }
  std::vector<std::uint64_t> buffers;
  for (const auto& [buffer_id, lease] : leases.leases()) {
    if (lease.buffer.session_id == session_id) buffers.push_back(buffer_id);
  }
  for (const std::uint64_t buffer_id : buffers) EraseLeaseLocked(buffer_id, after);
  leases.ForgetSession(session_id);
  SendLocked(session_id, SessionEndedEvent{status}, after);
  DropLocked(SessionKey(session_id), after);
  ChangedLocked(after);
  Log("session_ended", {{"session", absl::StrCat(session_id)}, {"buffers", absl::StrCat(buffers.size())}}, after);
  sessions.erase(session_id);
}

absl::StatusOr<SessionInfo> Core::Attach(const Caller& caller, absl::string_view client_name,
                                         std::shared_ptr<EventSink> sink) {
  A8A_RETURN_IF_ERROR(CheckText("client_name", client_name, kMaxNameBytes, Emptiness::kAllowed));
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  A8A_RETURN_IF_ERROR(impl_->CheckNotDrainingLocked("sessions"));
  if (impl_->let_go) return absl::UnavailableError("the daemon restarts; try again");
  if (impl_->sessions.size() >= static_cast<std::size_t>(impl_->options.session_max)) {
    return impl_->RefusedLocked(Limit::kSessions, absl::ResourceExhaustedError(absl::StrCat(
                                                      "the daemon has ", impl_->sessions.size(),
                                                      " sessions; its limit is ", impl_->options.session_max)));
  }
  A8A_RETURN_IF_ERROR(impl_->CheckUidSessionsLocked(caller.identity.uid));
  Session session;
  session.info = {.session_id = impl_->next_session_id++,
                  .client_name = std::string(client_name),
                  .identity = caller.identity,
                  .stream_open = true};
  if (sink != nullptr) session.outbox = std::make_shared<Outbox>(std::move(sink));
  SessionInfo info = session.info;
  impl_->sessions.emplace(info.session_id, std::move(session));
  ++impl_->counters.sessions_total;
  impl_->ChangedLocked(&after);
  impl_->Log("session_attached",
             {{"session", absl::StrCat(info.session_id)},
              {"pid", absl::StrCat(caller.identity.pid)},
              {"uid", absl::StrCat(caller.identity.uid)},
              {"client", info.client_name}},
             &after);
  return info;
}

absl::StatusOr<SessionInfo> Core::Resume(const Caller& caller, std::uint64_t state_id, std::uint64_t session_id,
                                         std::shared_ptr<EventSink> sink) {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  if (state_id != 0 && state_id != impl_->state_id) {
    return absl::NotFoundError(absl::StrCat("no session ", session_id, ": it was an earlier daemon's, whose state was ",
                                            "lost; attach anew (groups that run go on)"));
  }
  A8A_ASSIGN_OR_RETURN(Session * session, impl_->FindSessionLocked(caller, session_id));
  if (session->outbox != nullptr) {
    return absl::AlreadyExistsError(absl::StrCat("session ", session_id, " has an open stream"));
  }
  session->outbox = std::make_shared<Outbox>(std::move(sink));
  session->info.stream_open = true;
  session->resume_by = absl::InfiniteFuture();
  impl_->CatchUpLocked(*session, &after);
  impl_->Log("session_resumed", {{"session", absl::StrCat(session_id)}}, &after);
  return session->info;
}

void Core::StreamClosed(std::uint64_t session_id, const EventSink* sink) {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  const auto found = impl_->sessions.find(session_id);
  if (found == impl_->sessions.end() || found->second.outbox == nullptr) return;
  // A late report of an old stream, when the session has been resumed on a new one.
  if (found->second.outbox->sink() != sink) return;
  after.Drop(std::move(found->second.outbox));
  found->second.info.stream_open = false;
  impl_->Log("session_stream_closed", {{"session", absl::StrCat(session_id)}}, &after);
}

absl::Status Core::Detach(const Caller& caller, std::uint64_t session_id) {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  A8A_RETURN_IF_ERROR(impl_->FindSessionLocked(caller, session_id).status());
  impl_->EndSessionLocked(session_id, EndReason::kRankLeft, absl::OkStatus(), &after);
  return absl::OkStatus();
}

void Core::Impl::EndDeadSessionLocked(std::uint64_t session_id, absl::string_view event, Deferred* after) {
  if (!sessions.contains(session_id)) return;
  ++counters.sessions_died_total;
  Log(event, {{"session", absl::StrCat(session_id)}}, after);
  EndSessionLocked(session_id, EndReason::kRankDied,
                   absl::UnavailableError(absl::StrCat("the process of session ", session_id, " has ended")), after);
}

void Core::ProcessEnded(std::uint64_t session_id) {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  impl_->EndDeadSessionLocked(session_id, "session_process_ended", &after);
}

void Core::ProcessExiting(std::uint64_t session_id) {
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  for (const auto& [group_id, group] : impl_->groups) {
    if (group.RankOf(session_id).has_value() && group.HasUserMemory()) return;
  }
  impl_->EndDeadSessionLocked(session_id, "session_process_exiting", &after);
}

absl::Status Core::RevokeSession(const Caller& caller, std::uint64_t session_id) {
  A8A_RETURN_IF_ERROR(CheckAdministrator(caller));
  Deferred after;
  const MutexLock lock(&impl_->mutex);
  if (!impl_->sessions.contains(session_id)) return NoSession(session_id);
  impl_->Log("session_revoked", {{"session", absl::StrCat(session_id)}}, &after);
  impl_->EndSessionLocked(session_id, EndReason::kRevoked,
                          absl::AbortedError(absl::StrCat("an administrator revoked session ", session_id)), &after);
  return absl::OkStatus();
}

}  // namespace a8a::daemon
