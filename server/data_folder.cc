#include "server/data_folder.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/status.h"

namespace tiffin::server {
namespace {

// Makes the names of all folders down to `path` durable. What this user may not read, or what
// cannot be synced, was not made by him.
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

// What a folder of ours may hold that has no database (yet), and what a file system has at its
// root.
constexpr std::string_view kHarmless[] = {"LOCK", "packs", "open", "reserve", "lost+found"};
// In these a server removes what it does not know: having them makes no folder its own.
constexpr std::string_view kSwept[] = {"tmp", "uploads"};

bool IsDatabase(std::string_view name) {
  return name == "tiffin.db" || name.starts_with("tiffin.db-") || name.starts_with("tiffin.db.");
}

// A server makes LOCK first, then folders, then the database. Others have a LOCK, too.
absl::Status CheckOurs(const std::filesystem::path& path) {
  const auto is_in = [](const auto& names, std::string_view name) {
    return std::find(std::begin(names), std::end(names), name) != std::end(names);
  };
  std::error_code error;
  std::string other, swept;
  bool locked = false;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    if (IsDatabase(name)) return absl::OkStatus();
    locked = locked || name == "LOCK";
    if (is_in(kSwept, name)) {
      swept = name;
    } else if (!is_in(kHarmless, name)) {
      other = name;
    }
  }
  if (other.empty() && !locked) other = swept;
  if (error) {
    return absl::FailedPreconditionError(
        StrCat("cannot read the data folder ", path.string(), ": ", error.message()));
  }
  if (other.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat(path.string(), " is no data folder of tiffin: it holds ", other,
             ", but no tiffin.db; give an empty folder, or one that is not there yet"));
}

absl::Status CheckLocal(const std::filesystem::path& path) {
  struct statfs fs;
  if (statfs(path.c_str(), &fs) != 0) {
    return absl::FailedPreconditionError(
        StrCat("looking at ", path.string(), ": ", std::strerror(errno)));
  }
  const char* const network = NetworkFileSystem(static_cast<int64_t>(fs.f_type));
  if (network == nullptr) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat("the data folder ", path.string(), " is on ", network,
             ", where locks and the database's log cannot be relied on: use a local disk, or "
             "--allow-network-folder if one host alone mounts it"));
}

// Packs are spread over folders by the first two digits of their names.
bool IsPackFolder(std::string_view name) {
  return name.size() == 2 && std::all_of(name.begin(), name.end(), [](char c) {
           return absl::ascii_isxdigit(static_cast<unsigned char>(c));
         });
}

absl::Status CheckWritable(const std::filesystem::path& path) {
  std::vector<std::filesystem::path> parts;
  for (const char* name :
       {".", "tiffin.db", "tiffin.db-wal", "reserve", "packs", "open", "uploads", "tmp"}) {
    parts.push_back(path / name);
  }
  std::error_code unreadable;  // told by its turn in the loop
  std::filesystem::directory_iterator pack(path / "packs", unreadable);
  for (; !unreadable && pack != std::filesystem::directory_iterator(); pack.increment(unreadable)) {
    if (IsPackFolder(pack->path().filename().string())) parts.push_back(pack->path());
  }
  for (const std::filesystem::path& part : parts) {
    std::error_code error;
    if (!std::filesystem::exists(part, error) && !error) continue;
    const bool folder = std::filesystem::is_directory(part, error);
    if (access(part.c_str(), R_OK | W_OK | (folder ? X_OK : 0)) == 0) continue;
    const int reason = errno;
    return absl::FailedPreconditionError(
        StrCat("cannot write to ", part.string(), ": ", std::strerror(reason),
               reason == EROFS ? " (the server needs to write, if only its lock)"
                               : " (does it belong to the user that runs the server?)"));
  }
  return absl::OkStatus();
}

// Nothing here goes by the clock of other days, but people read times.
void NoteClock(const std::filesystem::path& path) {
  struct stat file;
  if (stat((path / "tiffin.db").c_str(), &file) != 0) return;
  const absl::Time written = absl::TimeFromTimespec(file.st_mtim);
  if (written < absl::Now() + absl::Minutes(10)) return;
  spdlog::warn(
      "event=clock note=\"the database was written at {}, which is yet to come: was the clock set "
      "back?\"",
      absl::FormatTime(written, absl::UTCTimeZone()));
}

}  // namespace

const char* NetworkFileSystem(int64_t type) {
  switch (type) {
    case 0x6969:
      return "NFS";
    case 0xff534d42:
      return "CIFS";
    case 0xfe534d42:
      return "SMB2";
    case 0x517b:
      return "SMB";
    case 0x5346414f:
      return "AFS";
    case 0x6b414653:
      return "AFS";
    case 0x19830326:
      return "BeeGFS";
    case 0xaad7aaea:
      return "PanFS";
    case 0x00c36400:
      return "Ceph";
    case 0x0bd00bd0:
      return "Lustre";
    case 0x47504653:
      return "GPFS";
    case 0x73757245:
      return "Coda";
    case 0x01021997:
      return "9P";
    case 0x65735546:
      return "FUSE (sshfs, GlusterFS and the like)";
    default:
      return nullptr;
  }
}

absl::StatusOr<std::unique_ptr<DataFolder>> DataFolder::Open(const std::filesystem::path& folder,
                                                             bool network) {
  std::error_code error;
  // Clients on this host are told of files in it.
  const std::filesystem::path path = std::filesystem::absolute(folder, error);
  if (error) {
    return absl::FailedPreconditionError(
        StrCat("cannot find the data folder ", folder.string(), ": ", error.message()));
  }
  std::filesystem::create_directories(path, error);
  if (!error && !std::filesystem::is_directory(path, error)) {
    error = std::make_error_code(std::errc::not_a_directory);
  }
  if (error) {
    return absl::FailedPreconditionError(
        StrCat("cannot make the data folder ", path.string(), ": ", error.message()));
  }
  TIFFIN_RETURN_IF_ERROR(CheckOurs(path));
  if (!network) TIFFIN_RETURN_IF_ERROR(CheckLocal(path));
  TIFFIN_RETURN_IF_ERROR(CheckWritable(path));
  NoteClock(path);
  if (!std::filesystem::exists(path / "LOCK", error)) {
    // New, or its making was cut short.
    TIFFIN_RETURN_IF_ERROR(SyncNamesOf(std::filesystem::absolute(path).lexically_normal()));
  }
  const std::string file = (path / "LOCK").string();
  const int lock = open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0) {
    return absl::FailedPreconditionError(
        StrCat("cannot open ", file, ": ", std::strerror(errno),
               " (does it belong to the user that runs the server?)"));
  }
  if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    close(lock);
    return absl::FailedPreconditionError(
        reason == EWOULDBLOCK ? StrCat("another server owns the data folder ", path.string())
                              : StrCat("cannot lock ", file, ": ", std::strerror(reason)));
  }
  // The folder itself, too: somebody may remove LOCK while a server runs.
  const int itself = open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (itself < 0 || flock(itself, LOCK_EX | LOCK_NB) != 0) {
    const int reason = errno;
    if (itself >= 0) close(itself);
    close(lock);
    return absl::FailedPreconditionError(
        reason == EWOULDBLOCK ? StrCat("another server owns the data folder ", path.string(),
                                       ", though its LOCK is gone")
                              : StrCat("cannot lock ", path.string(), ": ", std::strerror(reason)));
  }
  return std::unique_ptr<DataFolder>(new DataFolder(path, lock, itself));
}

absl::Status DataFolder::CheckDatabase() const {
  std::error_code error;
  const bool there = std::filesystem::exists(path_ / "tiffin.db", error);
  if (error) return absl::OkStatus();  // opening it tells more
  const std::filesystem::path rebuilt = path_ / kRebuiltDatabase;
  if (there) {
    std::filesystem::remove(rebuilt, error);
    if (!error) return absl::OkStatus();
    return absl::UnavailableError(StrCat("removing ", rebuilt.string(), ": ", error.message()));
  }
  if (std::filesystem::exists(rebuilt, error)) {
    return absl::FailedPreconditionError(
        StrCat("a rebuild of ", path_.string(),
               " was broken off, and its database tiffin.db is gone: run "
               "`tiffin-server --rebuild --data ",
               path_.string(), "` again"));
  }
  for (const char* folder : {"packs", "open"}) {
    for (const auto& entry : std::filesystem::recursive_directory_iterator(path_ / folder, error)) {
      if (entry.path().extension() != ".h5") continue;
      return absl::FailedPreconditionError(
          StrCat(path_.string(),
                 " has packs, but its database tiffin.db is gone: put it back, or "
                 "run `tiffin-server --rebuild --data ",
                 path_.string(), "`, which finds the blobs of sealed packs again"));
    }
  }
  return absl::OkStatus();  // a new folder
}

DataFolder::~DataFolder() {
  close(itself_);
  close(lock_);
}

}  // namespace tiffin::server
