// The two Status macros of the project. A8A_RETURN_IF_ERROR(expr) evaluates a Status once and returns it from the
// calling function unless it is OK. A8A_ASSIGN_OR_RETURN(lhs, expr) evaluates a StatusOr once and either returns its
// status or moves its value into lhs, which may declare a variable.
#ifndef A8A_KERNELS_BASE_STATUS_MACROS_H_
#define A8A_KERNELS_BASE_STATUS_MACROS_H_

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define A8A_RETURN_IF_ERROR(expr)                                              \
  do {                                                                         \
    if (absl::Status a8a_status = (expr); !a8a_status.ok()) return a8a_status; \
  } while (false)

#define A8A_INTERNAL_CONCAT2(a, b) a##b
#define A8A_INTERNAL_CONCAT(a, b) A8A_INTERNAL_CONCAT2(a, b)
#define A8A_INTERNAL_ASSIGN_OR_RETURN(temporary, lhs, expr)  \
  auto temporary = (expr);                                   \
  if (!temporary.ok()) return std::move(temporary).status(); \
  lhs = *std::move(temporary)
#define A8A_ASSIGN_OR_RETURN(lhs, expr) \
  A8A_INTERNAL_ASSIGN_OR_RETURN(A8A_INTERNAL_CONCAT(a8a_status_or_, __LINE__), lhs, expr)

#endif  // A8A_KERNELS_BASE_STATUS_MACROS_H_
