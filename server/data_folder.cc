#include "server/data_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/status.h"

namespace tiffin::server {
namespace {

// Makes the names of all folders down to `path` durable. What this user may not read, or what cannot be
// synced, was not made by him.
absl::Status SyncNamesOf(const std::filesystem::path& path) {
  for (std::filesystem::path at = path; at.has_relative_path();) {
    at = at.parent_path();
    const int fd = open(at.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int error = fd >= 0 && fsync(fd) == 0 ? 0 : errno;
    if (fd >= 0) close(fd);
    if (error != 0 && error != EACCES && error != EINVAL && error != EROFS) {
      return absl::UnavailableError(StrCat("syncing ", at.string(), ": ", std::strerror(error)));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataFolder>> DataFolder::Open(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return absl::FailedPreconditionError(
        StrCat("cannot make the data folder ", path.string(), ": ", error.message()));
  }
  if (!std::filesystem::exists(path / "LOCK", error)) {
    // New, or its making was cut short.
    TIFFIN_RETURN_IF_ERROR(SyncNamesOf(std::filesystem::absolute(path).lexically_normal()));
  }
  const std::string file = (path / "LOCK").string();
  const int lock = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) {
    return absl::FailedPreconditionError(
        StrCat("cannot open ", file, ": ", std::strerror(errno),
               " (is the data folder writable by this user?)"));
  }
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    close(lock);
    return absl::FailedPreconditionError(
        reason == EWOULDBLOCK ? StrCat("another server owns the data folder ", path.string())
                              : StrCat("cannot lock ", file, ": ", std::strerror(reason)));
  }
  return std::unique_ptr<DataFolder>(new DataFolder(path, lock));
}

DataFolder::~DataFolder() { close(lock_); }

}  // namespace tiffin::server
