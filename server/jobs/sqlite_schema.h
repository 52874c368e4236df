// Private to this folder: the tables, and how an older file is brought up to date.
#ifndef TIFFIN_SERVER_JOBS_SQLITE_SCHEMA_H_
#define TIFFIN_SERVER_JOBS_SQLITE_SCHEMA_H_

#include <cstdint>
#include <span>

#include "absl/status/status.h"
#include "server/jobs/sqlite_connection.h"

namespace tiffin::server {

// Stored: PRAGMA application_id of tiffin.db, "tffn" in ASCII.
inline constexpr int32_t kSqliteApplicationId = 0x7466666e;

// The statements that lead from the version before (the first: from an empty file) to this one.
struct Migration {
  const char* sql;
};

// Stored: version n (PRAGMA user_version) is what the first n of these make. Never changed once
// released, only added to.
std::span<const Migration> Migrations();

// FAILED_PRECONDITION unless the file is empty or a tiffin database of at most `newest`. Changes
// nothing.
absl::Status CheckIdentity(SqliteConnection& writer, int newest);

// Applies what is missing, each step and its number in one transaction: after an error, or a crash,
// the file is at the last version that succeeded.
absl::Status Migrate(SqliteConnection& writer, std::span<const Migration> migrations);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_SQLITE_SCHEMA_H_
