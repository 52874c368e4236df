// Private to this folder: a connection to the SQLite file with its statements, and what SQLite's
// errors mean here.
#ifndef TIFFIN_SERVER_JOBS_SQLITE_CONNECTION_H_
#define TIFFIN_SERVER_JOBS_SQLITE_CONNECTION_H_

#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Exception.h>
#include <SQLiteCpp/Statement.h>
#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <type_traits>
#include <unordered_map>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/crypto.h"
#include "server/jobs/sqlite_job_database.h"
#include "server/jobs/sqlite_log_mark.h"

namespace tiffin::server {

// One use of a statement: parameters in order, then rows. Its end resets the statement, so that no
// cursor keeps a snapshot and no binding outlives its memory.
class Query {
 public:
  explicit Query(SQLite::Statement& statement) : statement_(statement) {}
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  Query& Bind(int64_t value);
  Query& Bind(double value);
  Query& Bind(absl::Time value);      // microseconds since the epoch, UTC
  Query& Bind(absl::Duration value);  // microseconds
  // No copy: the memory must outlive the query. Records of 16 MiB come this way.
  Query& BindText(const std::string& value);
  Query& BindText(std::string&&) = delete;
  Query& BindBytes(std::string_view value);
  Query& Bind(const Digest& value) { return BindBytes(value.view()); }
  // Copies; for names.
  Query& BindName(std::string_view value);

  // Goes to the next row; false if there is none.
  bool Step() { return statement_.executeStep(); }
  // Runs a statement without rows; returns how many it changed.
  int64_t Run() { return statement_.exec(); }

  // Columns of the current row.
  int64_t Int(int column) const { return statement_.getColumn(column).getInt64(); }
  double Double(int column) const { return statement_.getColumn(column).getDouble(); }
  std::string Text(int column) const { return statement_.getColumn(column).getString(); }
  Digest Hash(int column) const;
  absl::Time Time(int column) const { return absl::FromUnixMicros(Int(column)); }
  absl::Duration Span(int column) const { return absl::Microseconds(Int(column)); }

 private:
  SQLite::Statement& statement_;
  int bound_ = 0;
};

// "doing: SQLite's message". RESOURCE_EXHAUSTED when the disk is full; DATA_LOSS when the file is
// damaged; ALREADY_EXISTS for a second row of a unique name; UNAVAILABLE for other I/O errors.
// `handle` is the connection's.
absl::Status SqliteStatus(sqlite3* handle, const SQLite::Exception& error, std::string_view doing);

// A connection. SQLite's errors leave its methods as SQLite::Exception; Guard ends them.
// Used by one thread at a time (SQLITE_OPEN_NOMUTEX).
class SqliteConnection {
 public:
  enum class Role {
    kWriter,  // the only one that writes and checkpoints
    kReader,  // opened read-only, never checkpoints
  };
  // Opens the file, and reads nothing yet.
  SqliteConnection(const SqliteJobDatabaseOptions& options, Role role);
  SqliteConnection(const SqliteConnection&) = delete;
  SqliteConnection& operator=(const SqliteConnection&) = delete;

  // The settings that readers and writer share.
  void Configure(int cache_kib);

  SQLite::Database& database() { return database_; }

  // The prepared statement of a literal; prepared once for the life of the connection. (SQLiteCpp
  // 3.2 has no way to pass SQLITE_PREPARE_PERSISTENT, a hint on where the memory comes from.)
  SQLite::Statement& Prepared(const char* sql);
  void Run(const char* sql) { Query(Prepared(sql)).Run(); }

  // Whether a transaction is open. An error such as a full disk may have ended it.
  bool InTransaction() const;

  // Makes this the connection that checkpoints, which it then does when it is told to, and, if the
  // last time was complete, when it is closed as the last one. No others are made by SQLite: they
  // would delay the answer to a commit, and their errors would be lost. `mark` may be null.
  void OwnLog(int64_t keep_bytes, std::unique_ptr<LogMark> mark);
  // Pages in the log after the last commit. OwnLog was called.
  int log_pages() const { return log_pages_; }
  // Copies the log into the file. kRestart and kTruncate wait a while for readers, so that the log
  // starts anew. SQLite's errors are noted for sync_failed() and else do no harm: the log is
  // durable. Without a mark that could be made, nothing is copied, and its error returned.
  enum class CheckpointMode { kPassive, kRestart, kTruncate };
  absl::Status Checkpoint(CheckpointMode mode);

  // See SqliteStatus; a failed sync and damage are noted.
  absl::Status StatusOf(const SQLite::Exception& error, std::string_view doing);
  // True once a sync failed: what SQLite holds to be durable may not be.
  bool sync_failed() const { return sync_failed_; }
  // True once SQLite came upon a page that cannot be one of its own.
  bool damaged() const { return damaged_; }

  // Runs `body`, which returns a Status or a StatusOr; SQLite's exceptions become its error.
  template <typename Body>
  std::invoke_result_t<Body> Guard(std::string_view doing, Body&& body) {
    try {
      return body();
    } catch (const SQLite::Exception& error) {
      return StatusOf(error, doing);
    }
  }

 private:
  void NoteCode(int sqlite_code);

  SQLite::Database database_;
  // By the literal's address: a statement is written in one place.
  std::unordered_map<const char*, std::unique_ptr<SQLite::Statement>> statements_;
  bool sync_failed_ = false;
  bool damaged_ = false;
  int log_pages_ = 0;
  std::unique_ptr<LogMark> mark_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_SQLITE_CONNECTION_H_
