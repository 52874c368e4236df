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

absl::Status DataFolder::CheckDatabase() const {
  std::error_code error;
  if (std::filesystem::exists(path_ / "tiffin.db", error) || error) return absl::OkStatus();
  for (const char* folder : {"packs", "open"}) {
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(path_ / folder, error)) {
      if (entry.path().extension() != ".h5") continue;
      return absl::FailedPreconditionError(
          StrCat(path_.string(), " has packs, but its database tiffin.db is gone: put it back, or "
                 "run `tiffin-server --rebuild --data ", path_.string(),
                 "`, which finds the blobs of sealed packs again"));
    }
  }
  return absl::OkStatus();  // a new folder
}

DataFolder::~DataFolder() { close(lock_); }

}  // namespace tiffin::server
