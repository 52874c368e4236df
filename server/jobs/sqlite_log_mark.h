// Private to this folder: what the log had when it was last about to be copied into the file.
#ifndef TIFFIN_SERVER_JOBS_SQLITE_LOG_MARK_H_
#define TIFFIN_SERVER_JOBS_SQLITE_LOG_MARK_H_

#include <cstdint>
#include <filesystem>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tiffin::server {

// SQLite takes a log up to its first damaged page. That is sound as long as the file has nothing of
// what follows. While the log is copied it has: cut short then, the log leaves a file whose tables
// and indices are of two times. So FILE-copying says how much log there is from before the copying
// until it has ended. Used by one thread at a time.
class LogMark {
 public:
  // Of the database FILE, before SQLite opens it (and makes a log if there is none). DATA_LOSS: a
  // copying was broken off, and the log has lost some of what was copied. Changes nothing in a
  // folder that has no mark.
  static absl::StatusOr<std::unique_ptr<LogMark>> Open(const std::filesystem::path& file);
  ~LogMark();
  LogMark(const LogMark&) = delete;
  LogMark& operator=(const LogMark&) = delete;

  // The log is about to be copied: syncs it. `pages`: in it, as far as the caller knows. After an
  // error it must not be. The first time makes the mark, if the disk has room.
  absl::Status Begin(uint32_t pages);
  // All of it was copied. After an error the log must not start anew.
  absl::Status End();
  // True once a sync failed.
  bool sync_failed() const { return sync_failed_; }

 private:
  struct Record {
    uint64_t salt = 0;   // of the log
    uint32_t pages = 0;  // 0: nothing is copied
    uint32_t sum = 0;    // of both
  };

  LogMark(std::filesystem::path path, std::filesystem::path log, int fd)
      : path_(std::move(path)), log_(std::move(log)), fd_(fd) {}
  absl::Status Write(const Record& record);
  // Makes the mark and writes it. OK, and there is none, if the disk is full.
  absl::Status Make(const Record& record);

  const std::filesystem::path path_, log_;
  int fd_;            // -1: not made yet
  bool set_ = false;  // it says that the log is being copied
  bool sync_failed_ = false;
  uint32_t found_pages_ = 0;  // committed, in the log when it was opened
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_SQLITE_LOG_MARK_H_
