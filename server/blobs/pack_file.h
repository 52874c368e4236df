// Files and folders, each call checked. A full disk, or too many open files, is RESOURCE_EXHAUSTED,
// a missing file NOT_FOUND, a disk that fails or is read-only UNAVAILABLE, all else INTERNAL; the
// message names the file and what the system said.
#ifndef TIFFIN_SERVER_BLOBS_PACK_FILE_H_
#define TIFFIN_SERVER_BLOBS_PACK_FILE_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tiffin::server {

// An open file. Closed with the object.
class PackFile {
 public:
  static absl::StatusOr<std::unique_ptr<PackFile>> Open(const std::filesystem::path& path,
                                                        bool writable);
  // A new, empty file; what was there under that name is gone.
  static absl::StatusOr<std::unique_ptr<PackFile>> Create(const std::filesystem::path& path);
  ~PackFile();
  PackFile(const PackFile&) = delete;
  PackFile& operator=(const PackFile&) = delete;

  // Reserves disk space; OK where the file system cannot.
  absl::Status Reserve(uint64_t offset, uint64_t bytes) const;
  absl::Status Write(std::string_view bytes, uint64_t offset) const;
  // The parts, one after the other.
  absl::Status Write(std::span<const std::string_view> parts, uint64_t offset) const;
  // DATA_LOSS if the file ends before, or cannot be read.
  absl::Status Read(char* to, uint64_t length, uint64_t offset) const;
  absl::StatusOr<uint64_t> Size() const;
  int fd() const { return fd_; }
  // Starts bringing the range to the disk, so that Sync has less to wait for.
  void StartSync(uint64_t offset, uint64_t length) const;
  absl::Status Sync() const;      // data and metadata
  absl::Status SyncData() const;  // data, and the metadata needed to read it

 private:
  PackFile(std::filesystem::path path, int fd) : path_(std::move(path)), fd_(fd) {}

  const std::filesystem::path path_;
  const int fd_;
};

// The status for an errno: doing `what` to `path` failed.
absl::Status FromErrno(int error, std::string_view what, const std::filesystem::path& path);

absl::Status SyncFolder(const std::filesystem::path& folder);
// Makes the folder if absent, and its entry durable.
absl::Status MakeFolder(const std::filesystem::path& folder);
// Renames within one file system; durable when it returns.
absl::Status RenameDurably(const std::filesystem::path& from, const std::filesystem::path& to);
// OK if it is not there.
absl::Status RemoveFile(const std::filesystem::path& path);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_PACK_FILE_H_
