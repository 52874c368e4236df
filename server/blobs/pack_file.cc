#include "server/blobs/pack_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <system_error>

#include "common/status.h"

namespace tiffin::server {

absl::Status FromErrno(int error, std::string_view what, const std::filesystem::path& path) {
  const std::string message = StrCat(what, " ", path.string(), ": ", std::strerror(error));
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return absl::ResourceExhaustedError(message);
    case ENOENT:
      return absl::NotFoundError(message);
    case EIO:
    case EROFS:
    case EACCES:
    case EPERM:
      return absl::UnavailableError(message);
    default:
      return absl::InternalError(message);
  }
}

absl::StatusOr<std::unique_ptr<PackFile>> PackFile::Open(const std::filesystem::path& path,
                                                         bool writable) {
  const int fd = open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (fd < 0) return FromErrno(errno, "opening", path);
  return std::unique_ptr<PackFile>(new PackFile(path, fd));
}

absl::StatusOr<std::unique_ptr<PackFile>> PackFile::Create(const std::filesystem::path& path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return FromErrno(errno, "making", path);
  return std::unique_ptr<PackFile>(new PackFile(path, fd));
}

PackFile::~PackFile() { close(fd_); }

absl::Status PackFile::Reserve(uint64_t offset, uint64_t bytes) const {
  if (bytes == 0 || fallocate(fd_, 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0 ||
      errno == EOPNOTSUPP) {
    return absl::OkStatus();
  }
  return FromErrno(errno, "reserving space for", path_);
}

absl::Status PackFile::Write(std::string_view bytes, uint64_t offset) const {
  while (!bytes.empty()) {
    const ssize_t n = pwrite(fd_, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return FromErrno(n < 0 ? errno : EIO, "writing", path_);
    bytes.remove_prefix(n);
    offset += n;
  }
  return absl::OkStatus();
}

absl::Status PackFile::Write(std::span<const std::string_view> parts, uint64_t offset) const {
  std::array<iovec, IOV_MAX> vectors;
  while (!parts.empty()) {
    const size_t n = std::min(parts.size(), vectors.size());
    size_t bytes = 0;
    for (size_t i = 0; i < n; ++i) {
      vectors[i] = {const_cast<char*>(parts[i].data()), parts[i].size()};
      bytes += parts[i].size();
    }
    const ssize_t written =
        pwritev(fd_, vectors.data(), static_cast<int>(n), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return FromErrno(errno, "writing", path_);
    if (static_cast<size_t>(written) < bytes) {
      // Cut short, as by a disk that is nearly full: part by part, to hear why.
      for (const std::string_view part : parts.first(n)) {
        TIFFIN_RETURN_IF_ERROR(Write(part, offset));
        offset += part.size();
      }
    } else {
      offset += bytes;
    }
    parts = parts.subspan(n);
  }
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> PackFile::Size() const {
  struct stat info;
  if (fstat(fd_, &info) != 0) return FromErrno(errno, "looking at", path_);
  return static_cast<uint64_t>(info.st_size);
}

absl::Status PackFile::Read(char* to, uint64_t length, uint64_t offset) const {
  while (length > 0) {
    const ssize_t n = pread(fd_, to, length, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return FromErrno(errno, "reading", path_);
    if (n == 0) {
      return absl::DataLossError(
          StrCat("reading ", path_.filename().string(), " at ", offset, ": the file ends before"));
    }
    to += n;
    length -= n;
    offset += n;
  }
  return absl::OkStatus();
}

void PackFile::StartSync(uint64_t offset, uint64_t length) const {
  // Only a hint: Sync tells what went wrong.
  (void)sync_file_range(fd_, static_cast<off_t>(offset), static_cast<off_t>(length),
                        SYNC_FILE_RANGE_WRITE);
}

absl::Status PackFile::Sync() const {
  return fsync(fd_) == 0 ? absl::OkStatus() : FromErrno(errno, "syncing", path_);
}

absl::Status PackFile::SyncData() const {
  return fdatasync(fd_) == 0 ? absl::OkStatus() : FromErrno(errno, "syncing", path_);
}

absl::Status SyncFolder(const std::filesystem::path& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return FromErrno(errno, "opening", folder);
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  return error == 0 ? absl::OkStatus() : FromErrno(error, "syncing", folder);
}

absl::Status MakeFolder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directory(folder, error);
  if (error) return FromErrno(error.value(), "making", folder);
  // Also of one that was there: whoever made it may have been killed before this.
  return SyncFolder(folder.parent_path());
}

absl::Status RenameDurably(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (rename(from.c_str(), to.c_str()) != 0) return FromErrno(errno, "renaming to", to);
  return SyncFolder(to.parent_path());
}

absl::Status RemoveFile(const std::filesystem::path& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return FromErrno(errno, "removing", path);
}

}  // namespace tiffin::server
