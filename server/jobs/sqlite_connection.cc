#include "server/jobs/sqlite_connection.h"

#include <sqlite3.h>

#include <cerrno>
#include <climits>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "server/jobs/file_status.h"

namespace tiffin::server {
namespace {

constexpr int kReadersTimeoutMs = 200;  // of a checkpoint that needs the log for itself
constexpr int kBusyTimeoutMs = 5000;
// SQLite's file system for files that no other process opens: locks are taken once, not by each
// look-up, and the index of the log lies in this process's memory, where a file, mapped, could be
// cut by somebody and end the process.
constexpr char kOwnFiles[] = "unix-excl";
constexpr char kDamagedAdvice[] =
    ": the database is damaged; stop the server and run `tiffin-server --rebuild --data …`, which "
    "makes it "
    "anew from what is left and from the packs, or start on a backup";

int OpenFlags(SqliteConnection::Role role) {
  return SQLite::OPEN_NOMUTEX |
         (role == SqliteConnection::Role::kWriter ? SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE
                                                  : SQLite::OPEN_READONLY);
}

void SetCheckpointOnClose(SQLite::Database& database, bool on) {
  database.check(sqlite3_db_config(database.getHandle(), SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE,
                                   on ? 0 : 1, nullptr));
}

absl::StatusCode CodeOf(int sqlite_code, int system_errno) {
  if (sqlite_code == SQLITE_CONSTRAINT_UNIQUE || sqlite_code == SQLITE_CONSTRAINT_PRIMARYKEY) {
    return absl::StatusCode::kAlreadyExists;
  }
  // The tables are STRICT: a value of the wrong type can only have come from a damaged row.
  if (sqlite_code == SQLITE_CONSTRAINT_DATATYPE) return absl::StatusCode::kDataLoss;
  switch (sqlite_code & 0xff) {
    case SQLITE_FULL:
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_CORRUPT:
      return absl::StatusCode::kDataLoss;
    case SQLITE_NOTADB:
      return absl::StatusCode::kFailedPrecondition;
    case SQLITE_IOERR:
      // Whether that commit is on disk is not known, so that it is no plain refusal.
      if (sqlite_code == SQLITE_IOERR_FSYNC || sqlite_code == SQLITE_IOERR_DIR_FSYNC) {
        return absl::StatusCode::kUnavailable;
      }
      // SQLite reports a full disk as SQLITE_FULL for plain writes only.
      return system_errno == ENOSPC || system_errno == EDQUOT ? absl::StatusCode::kResourceExhausted
                                                              : absl::StatusCode::kUnavailable;
    case SQLITE_CANTOPEN:
      return IsFull(system_errno) ? absl::StatusCode::kResourceExhausted
                                  : absl::StatusCode::kUnavailable;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return absl::StatusCode::kUnavailable;
    default:
      return absl::StatusCode::kInternal;  // a statement or a row this code should not have made
  }
}

// What the system said. SQLite 3.40 does not keep it for a COMMIT, but the file that it wrote to
// does: the log.
int SystemError(sqlite3* handle, int sqlite_code) {
  sqlite3_file* log = nullptr;
  int error = 0;
  if (sqlite_code == SQLITE_IOERR_WRITE &&
      sqlite3_file_control(handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log) == SQLITE_OK &&
      log != nullptr && log->pMethods != nullptr &&
      log->pMethods->xFileControl(log, SQLITE_FCNTL_LAST_ERRNO, &error) == SQLITE_OK &&
      error != 0) {
    return error;
  }
  return sqlite3_system_errno(handle);
}

const char* AdviceOn(int sqlite_code) {
  switch (sqlite_code & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return kDamagedAdvice;
    case SQLITE_BUSY:
      return ": another process has the database open";
    default:
      return "";
  }
}

int SqliteCode(const SQLite::Exception& error) {
  return error.getExtendedErrorCode() > 0 ? error.getExtendedErrorCode() : error.getErrorCode();
}

}  // namespace

absl::Status SqliteStatus(sqlite3* handle, const SQLite::Exception& error, std::string_view doing) {
  const int code = SqliteCode(error);
  return absl::Status(CodeOf(code, SystemError(handle, code)),
                      absl::StrCat(absl::string_view(doing.data(), doing.size()), ": ",
                                   error.what(), " (SQLite ", code, ")", AdviceOn(code)));
}

Query::~Query() {
  statement_.tryReset();  // its result repeats the error of the last step
  try {
    statement_.clearBindings();
  } catch (const SQLite::Exception&) {
    // Only of a statement in use, which it no longer is.
  }
}

Query& Query::Bind(int64_t value) {
  statement_.bind(++bound_, value);
  return *this;
}

Query& Query::Bind(double value) {
  statement_.bind(++bound_, value);
  return *this;
}

Query& Query::Bind(absl::Time value) { return Bind(int64_t{absl::ToUnixMicros(value)}); }

Query& Query::Bind(absl::Duration value) { return Bind(int64_t{absl::ToInt64Microseconds(value)}); }

Query& Query::BindText(const std::string& value) {
  statement_.bindNoCopy(++bound_, value);
  return *this;
}

Query& Query::BindBytes(std::string_view value) {
  if (value.size() > INT_MAX)
    throw SQLite::Exception("more than 2 GiB in one column", SQLITE_TOOBIG);
  // A null pointer would be bound as NULL.
  const char* data = value.empty() ? "" : value.data();
  statement_.bindNoCopy(++bound_, static_cast<const void*>(data), static_cast<int>(value.size()));
  return *this;
}

Query& Query::BindName(std::string_view value) {
  statement_.bind(++bound_, std::string(value));
  return *this;
}

Digest Query::Hash(int column) const {
  const SQLite::Column value = statement_.getColumn(column);
  Digest digest;
  const void* bytes = value.getBlob();
  if (static_cast<size_t>(value.getBytes()) != digest.bytes.size()) {
    throw SQLite::Exception("a digest is not 32 bytes", SQLITE_CORRUPT);
  }
  std::memcpy(digest.bytes.data(), bytes, digest.bytes.size());
  return digest;
}

SqliteConnection::SqliteConnection(const SqliteJobDatabaseOptions& options, Role role)
    : database_(options.file.string(), OpenFlags(role), kBusyTimeoutMs,
                options.vfs.empty() ? kOwnFiles : options.vfs) {
  // No connection copies the log when it is closed, but the writer's once the file is known to be
  // tiffin's.
  SetCheckpointOnClose(database_, false);
}

void SqliteConnection::Configure(int cache_kib) {
  database_.exec("PRAGMA mmap_size = 0");  // an I/O error in a mapping is a SIGBUS
  database_.exec(absl::StrCat("PRAGMA cache_size = -", cache_kib));
  database_.exec("PRAGMA trusted_schema = OFF");
}

SQLite::Statement& SqliteConnection::Prepared(const char* sql) {
  std::unique_ptr<SQLite::Statement>& statement = statements_[sql];
  if (statement == nullptr) statement = std::make_unique<SQLite::Statement>(database_, sql);
  return *statement;
}

bool SqliteConnection::InTransaction() const {
  return sqlite3_get_autocommit(database_.getHandle()) == 0;
}

void SqliteConnection::OwnLog(int64_t keep_bytes, std::unique_ptr<LogMark> mark) {
  mark_ = std::move(mark);
  database_.exec(absl::StrCat("PRAGMA journal_size_limit = ", keep_bytes));
  // Takes the place of SQLite's own hook, the one that checkpoints.
  sqlite3_wal_hook(
      database_.getHandle(),
      [](void* pages, sqlite3*, const char*, int count) {
        *static_cast<int*>(pages) = count;
        return SQLITE_OK;
      },
      &log_pages_);
}

absl::Status SqliteConnection::Checkpoint(CheckpointMode mode) {
  // Until all is copied: closing would copy the rest and remove the log, and the mark would miss
  // it.
  SetCheckpointOnClose(database_, false);
  if (mark_) {
    absl::Status begun = mark_->Begin(static_cast<uint32_t>(log_pages_));
    sync_failed_ = sync_failed_ || mark_->sync_failed();
    if (!begun.ok()) return begun;
  }
  const int sqlite_mode = mode == CheckpointMode::kPassive   ? SQLITE_CHECKPOINT_PASSIVE
                          : mode == CheckpointMode::kRestart ? SQLITE_CHECKPOINT_RESTART
                                                             : SQLITE_CHECKPOINT_TRUNCATE;
  sqlite3* handle = database_.getHandle();
  // All who want to write wait meanwhile: readers that do not end soon let the log grow instead.
  sqlite3_busy_timeout(handle, kReadersTimeoutMs);
  int pages = -1, copied = -1;
  const int code = sqlite3_wal_checkpoint_v2(handle, nullptr, sqlite_mode, &pages, &copied);
  if (code != SQLITE_OK) NoteCode(sqlite3_extended_errcode(handle));
  // Busy: a reader keeps the log from starting anew now, though all may be copied.
  if ((code == SQLITE_OK || code == SQLITE_BUSY) && pages >= 0 && pages == copied) {
    if (mark_ && !mark_->End().ok()) {
      sync_failed_ = true;
    } else {
      SetCheckpointOnClose(database_, true);
    }
  }
  sqlite3_busy_timeout(handle, kBusyTimeoutMs);
  return absl::OkStatus();
}

absl::Status SqliteConnection::StatusOf(const SQLite::Exception& error, std::string_view doing) {
  NoteCode(SqliteCode(error));
  return SqliteStatus(database_.getHandle(), error, doing);
}

void SqliteConnection::NoteCode(int sqlite_code) {
  if ((sqlite_code & 0xff) == SQLITE_CORRUPT || (sqlite_code & 0xff) == SQLITE_NOTADB)
    damaged_ = true;
  if (sqlite_code == SQLITE_IOERR_FSYNC || sqlite_code == SQLITE_IOERR_DIR_FSYNC) {
    sync_failed_ = true;
  }
}

}  // namespace tiffin::server
