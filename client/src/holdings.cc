#include "client/src/holdings.h"

#include "absl/strings/str_cat.h"
#include "client/src/deadline.h"
#include "kernels/base/status_macros.h"

namespace a8a::client {
namespace {

// Refusals of one object, which say nothing of the others.
bool IsOfOneObject(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsPermissionDenied(status) || absl::IsInvalidArgument(status) ||
         absl::IsFailedPrecondition(status);
}

}  // namespace

Holdings::Operation::Operation(Holdings* holdings) : holdings_(holdings) {
  const MutexLock lock(&holdings_->mutex_);
  ++holdings_->operation_count_;
}

Holdings::Operation::~Operation() {
  const MutexLock lock(&holdings_->mutex_);
  if (--holdings_->operation_count_ == 0) holdings_->operations_ended_.NotifyAll();
}

void Holdings::AddBuffer(std::uint64_t buffer_id, std::uint64_t generation, UniqueFd fd) {
  const MutexLock lock(&mutex_);
  entries_[{FdRequestKind::kHandBackBuffer, buffer_id}] = {generation, std::make_shared<const UniqueFd>(std::move(fd))};
}

void Holdings::AddGroup(std::uint64_t group_id, UniqueFd control_fd) {
  const MutexLock lock(&mutex_);
  entries_[{FdRequestKind::kHandBackControl, group_id}] = {0, std::make_shared<const UniqueFd>(std::move(control_fd))};
}

void Holdings::RemoveBuffer(std::uint64_t buffer_id) {
  const MutexLock lock(&mutex_);
  entries_.erase({FdRequestKind::kHandBackBuffer, buffer_id});
}

void Holdings::RemoveGroup(std::uint64_t group_id) {
  const MutexLock lock(&mutex_);
  entries_.erase({FdRequestKind::kHandBackControl, group_id});
}

absl::Status Holdings::WaitForOperations(absl::Time deadline) {
  const auto until = ToSteadyClock(deadline);
  const MutexLock lock(&mutex_);
  while (operation_count_ > 0) {
    if (!operations_ended_.WaitUntil(&mutex_, until) && operation_count_ > 0) {
      return absl::DeadlineExceededError(absl::StrCat(operation_count_, " operations of the session do not end"));
    }
  }
  return absl::OkStatus();
}

absl::Status Holdings::HandBack(std::uint64_t session_id, FdConnection* connection, absl::Time deadline) {
  A8A_RETURN_IF_ERROR(WaitForOperations(deadline));
  std::map<Key, Entry> entries;
  {
    const MutexLock lock(&mutex_);
    entries = entries_;
  }
  for (const auto& [key, entry] : entries) {
    const absl::Status status = connection->HandBack(
        key.first, session_id, {.id = key.second, .generation = entry.generation}, entry.fd->get(), deadline);
    if (!status.ok() && !IsOfOneObject(status)) return status;
  }
  return connection->HandBack(FdRequestKind::kHandBackDone, session_id, {}, /*fd=*/-1, deadline);
}

}  // namespace a8a::client
