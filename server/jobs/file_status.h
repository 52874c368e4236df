// Private to this folder: what the system's errors mean for files that are not SQLite's own.
#ifndef TIFFIN_SERVER_JOBS_FILE_STATUS_H_
#define TIFFIN_SERVER_JOBS_FILE_STATUS_H_

#include <cerrno>
#include <cstring>
#include <string_view>

#include "absl/status/status.h"
#include "common/strings.h"

namespace tiffin::server {

// The disk, a quota or the table of open files: it passes when there is room.
inline bool IsFull(int error) {
  return error == ENOSPC || error == EDQUOT || error == EMFILE || error == ENFILE;
}

// RESOURCE_EXHAUSTED if full, else UNAVAILABLE.
inline absl::Status FileStatus(int error, std::string_view doing, std::string_view what) {
  return absl::Status(
      IsFull(error) ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kUnavailable,
      StrCat(doing, " ", what, ": ", std::strerror(error)));
}

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_FILE_STATUS_H_
