// Private to this folder: a copy of the database, by SQLite's backup API.
#ifndef TIFFIN_SERVER_JOBS_SQLITE_COPY_H_
#define TIFFIN_SERVER_JOBS_SQLITE_COPY_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "server/jobs/sqlite_job_database.h"

namespace tiffin::server {

// See JobDatabase::CopyTo. Reads on a connection of its own, in one snapshot.
absl::StatusOr<std::vector<PackUse>> CopySqliteDatabase(
    const SqliteJobDatabaseOptions& options, const std::filesystem::path& file,
    const std::function<absl::Status(uint64_t bytes, uint64_t total)>& progress);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_SQLITE_COPY_H_
