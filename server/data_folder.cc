#include "server/data_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "common/status.h"

namespace tiffin::server {

absl::StatusOr<std::unique_ptr<DataFolder>> DataFolder::Open(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return absl::FailedPreconditionError(
        StrCat("cannot make the data folder ", path.string(), ": ", error.message()));
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
