// Helpers for absl::Status.
#ifndef TIFFIN_COMMON_STATUS_H_
#define TIFFIN_COMMON_STATUS_H_

#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/strings.h"

namespace tiffin {

// The same code, with `where` in front of the message: "where: message". OK stays OK.
inline absl::Status Annotate(const absl::Status& status, std::string_view where) {
  if (status.ok() || where.empty()) return status;
  return absl::Status(status.code(), StrCat(where, ": ", status.message()));
}

}  // namespace tiffin

// Returns from the calling function if the expression is not OK.
#define TIFFIN_RETURN_IF_ERROR(expr)                                                       \
  do {                                                                                     \
    if (absl::Status tiffin_status_ = (expr); !tiffin_status_.ok()) return tiffin_status_; \
  } while (false)

#define TIFFIN_CONCAT_INNER(a, b) a##b
#define TIFFIN_CONCAT(a, b) TIFFIN_CONCAT_INNER(a, b)
// Declares `lhs` from a StatusOr, or returns its status.
#define TIFFIN_ASSIGN_OR_RETURN(lhs, expr) \
  TIFFIN_ASSIGN_OR_RETURN_IMPL(TIFFIN_CONCAT(tiffin_or_, __LINE__), lhs, expr)
#define TIFFIN_ASSIGN_OR_RETURN_IMPL(tmp, lhs, expr) \
  auto tmp = (expr);                                 \
  if (!tmp.ok()) return std::move(tmp).status();     \
  lhs = std::move(tmp).value()

#endif  // TIFFIN_COMMON_STATUS_H_
