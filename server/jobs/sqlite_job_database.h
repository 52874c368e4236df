// The job database in one SQLite file.
#ifndef TIFFIN_SERVER_JOBS_SQLITE_JOB_DATABASE_H_
#define TIFFIN_SERVER_JOBS_SQLITE_JOB_DATABASE_H_

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/jobs/disk_room.h"
#include "server/jobs/job_database.h"

namespace tiffin::server {

struct SqliteJobDatabaseOptions {
  std::filesystem::path file;  // created if absent; its folder must exist
  int readers = 8;             // Reads that run at the same time; more wait for one of them

  // One transaction takes at most so many operations, and no further one once the changes it holds
  // carry so many bytes of records.
  size_t max_batch = 1024;
  uint64_t max_batch_bytes = uint64_t{16} << 20;

  // Pages in the log from which it is copied into the file after a transaction.
  int checkpoint_pages = 8192;

  // Page cache, of the writer and of each reader: the inner pages of ten million jobs and their
  // results fit in, although each look-up brings leaves that nobody asks for again.
  int writer_cache_kib = 32 << 10;
  int reader_cache_kib = 48 << 10;

  // Files up to this size are checked page by page when they are opened.
  uint64_t check_bytes = uint64_t{16} << 20;

  // Asked before each change that needs space, and told of a full disk, on the writer's thread;
  // outlives the database. Null: there is always room.
  DiskRoom* room = nullptr;

  // Name of a registered SQLite VFS, for tests that break the disk; empty: unix-excl.
  std::string vfs;
};

// Opens or creates the database and brings its schema up to date. This process must be the only one
// that has the file open, and nobody may open it with a descriptor of their own: closing that would
// drop SQLite's locks.
// FAILED_PRECONDITION, the file being left as it is, if it is no database of tiffin or of a newer
// one; DATA_LOSS if it is damaged; RESOURCE_EXHAUSTED if the disk is full; UNAVAILABLE if it cannot
// be read.
absl::StatusOr<std::unique_ptr<JobDatabase>> OpenSqliteJobDatabase(
    const SqliteJobDatabaseOptions& options);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_SQLITE_JOB_DATABASE_H_
