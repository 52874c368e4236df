#include "server/jobs/sqlite_job_database.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "server/jobs/sqlite_connection.h"
#include "server/jobs/sqlite_copy.h"
#include "server/jobs/sqlite_reader_pool.h"
#include "server/jobs/sqlite_schema.h"
#include "server/jobs/sqlite_transaction.h"
#include "server/jobs/write_queue.h"

namespace tiffin::server {
namespace {

// A log of so many times checkpoint_pages is started anew even if the writer has to wait for the
// readers in it.
constexpr int kLogLimit = 8;

// A name in a folder is durable once the folder is synced.
absl::Status SyncFolder(const std::filesystem::path& folder) {
  const std::string name = folder.empty() ? "." : folder.string();
  const int fd = ::open(name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool ok = fd >= 0 && ::fsync(fd) == 0;
  const int error = errno;
  if (fd >= 0) ::close(fd);
  if (ok) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("syncing ", name, ": ", std::strerror(error)));
}

class SqliteJobDatabase final : public JobDatabase {
 public:
  SqliteJobDatabase(const SqliteJobDatabaseOptions& options,
                    std::unique_ptr<SqliteConnection> writer, std::unique_ptr<ReaderPool> readers,
                    const Counters& counters)
      : options_(options),
        writer_(std::move(writer)),
        readers_(std::move(readers)),
        transaction_(writer_.get(), counters, options.room),
        queue_(
            options.max_batch,
            [this](std::vector<WriteOp>& ops, const WriteQueue::Refill& refill) {
              return RunBatch(ops, refill);
            },
            [this] { CheckpointAtEnd(); }) {}

  void Write(WriteOp op) override { queue_.Push(std::move(op)); }
  absl::Status Read(const std::function<absl::Status(JobReader&)>& look) override {
    return readers_->Read(look);
  }
  void Close() override { queue_.Close(); }
  void OnFatal(std::function<void(absl::Status)> callback) override {
    std::lock_guard lock(fatal_mutex_);
    on_fatal_ = std::move(callback);
  }
  uint64_t DiskBytes() const override;
  absl::StatusOr<std::vector<PackUse>> CopyTo(
      const std::filesystem::path& file,
      const std::function<absl::Status(uint64_t, uint64_t)>& progress) override {
    return CopySqliteDatabase(options_, file, progress);
  }

 private:
  // All on the writer's thread.
  size_t RunBatch(std::vector<WriteOp>& ops, const WriteQueue::Refill& refill);
  absl::Status RunTransaction(std::vector<WriteOp>& ops, const WriteQueue::Refill& refill,
                              std::vector<absl::Status>& fates);
  static absl::Status FateOf(const absl::Status& operation, const absl::Status& transaction);
  void CheckpointIfDue();
  void CheckpointAtEnd();
  void TellIfFatal();

  const SqliteJobDatabaseOptions options_;
  // The writer's connection goes last: as the last one open it removes the log.
  const std::unique_ptr<SqliteConnection> writer_;
  const std::unique_ptr<ReaderPool> readers_;

  // Used on the writer's thread only.
  SqliteTransaction transaction_;
  int checkpointed_at_ = 0;  // pages that were in the log then; 0: log started anew since
  bool fatal_ = false;

  std::mutex fatal_mutex_;
  std::function<void(absl::Status)> on_fatal_;  // guarded by fatal_mutex_

  WriteQueue queue_;  // last: its thread uses all of the above
};

// Returns the transaction's fate; `fates` has that of each operation it took.
absl::Status SqliteJobDatabase::RunTransaction(std::vector<WriteOp>& ops,
                                               const WriteQueue::Refill& refill,
                                               std::vector<absl::Status>& fates) {
  if (fatal_) {
    fates.resize(ops.size());
    return absl::UnavailableError("the job database stopped after a failed sync");
  }
  if (writer_->damaged()) {
    // More changes could spread it. What can be read still is.
    fates.resize(ops.size());
    return absl::DataLossError(
        "nothing more is written: the database is damaged; stop the server and run "
        "`tiffin-server --rebuild --data …`");
  }
  if (absl::Status status = transaction_.Begin(); !status.ok()) {
    fates.resize(ops.size());
    return status;
  }
  for (size_t i = 0; i < ops.size(); ++i) {
    fates.push_back(transaction_.RunOperation(ops[i].apply));
    ops[i].apply = nullptr;  // a record it holds need not wait for the sync
    if (!transaction_.open()) {
      const absl::Status& cause = fates.back();
      const absl::StatusCode code = absl::IsResourceExhausted(cause)
                                        ? absl::StatusCode::kResourceExhausted
                                        : absl::StatusCode::kUnavailable;
      return absl::Status(code,
                          absl::StrCat("rolled back with another operation: ", cause.message()));
    }
    if (transaction_.bytes() >= options_.max_batch_bytes) break;
    // What came meanwhile shares this sync.
    if (i + 1 == ops.size()) refill(ops);
  }
  return transaction_.Commit();
}

// An operation that was refused saw what others of the transaction did: it is told so only if that
// stays.
absl::Status SqliteJobDatabase::FateOf(const absl::Status& operation,
                                       const absl::Status& transaction) {
  const bool disk = absl::IsDataLoss(operation) || absl::IsResourceExhausted(operation) ||
                    absl::IsUnavailable(operation) || absl::IsInternal(operation);
  return transaction.ok() || disk ? operation : transaction;
}

size_t SqliteJobDatabase::RunBatch(std::vector<WriteOp>& ops, const WriteQueue::Refill& refill) {
  std::vector<absl::Status> fates;
  fates.reserve(ops.size());
  const absl::Status transaction = RunTransaction(ops, refill, fates);
  bool full = absl::IsResourceExhausted(transaction);
  for (size_t i = 0; i < fates.size(); ++i) {
    full = full || absl::IsResourceExhausted(fates[i]);
    // What it holds goes with its answer, not after the checkpoint.
    const auto done = std::exchange(ops[i].done, nullptr);
    if (done) done(FateOf(fates[i], transaction));
  }
  if (full && options_.room != nullptr) options_.room->MetFull();
  // After the answers: nobody waits for it.
  CheckpointIfDue();
  TellIfFatal();
  return fates.size();
}

// Readers may keep the log from starting anew, so that it is not its length that counts but its
// growth: each checkpoint costs two syncs.
void SqliteJobDatabase::CheckpointIfDue() {
  if (fatal_ || writer_->sync_failed()) return;
  const int pages = writer_->log_pages();
  if (pages < checkpointed_at_) checkpointed_at_ = 0;
  if (pages - checkpointed_at_ < options_.checkpoint_pages) return;
  const absl::Status status = writer_->Checkpoint(pages < kLogLimit * options_.checkpoint_pages
                                                      ? SqliteConnection::CheckpointMode::kPassive
                                                      : SqliteConnection::CheckpointMode::kRestart);
  if (!status.ok()) spdlog::warn("event=checkpoint error=\"{}\"", status.ToString());
  checkpointed_at_ = pages;
}

void SqliteJobDatabase::CheckpointAtEnd() {
  if (fatal_) return;
  const absl::Status status = writer_->Checkpoint(SqliteConnection::CheckpointMode::kTruncate);
  // the log stays
  if (!status.ok()) spdlog::warn("event=checkpoint error=\"{}\"", status.ToString());
  TellIfFatal();
}

void SqliteJobDatabase::TellIfFatal() {
  if (fatal_ || !writer_->sync_failed()) return;
  fatal_ = true;
  std::function<void(absl::Status)> callback;
  {
    std::lock_guard lock(fatal_mutex_);
    callback = on_fatal_;
  }
  if (callback) {
    callback(absl::DataLossError(absl::StrCat("a sync of ", options_.file.string(), " failed")));
  }
}

uint64_t SqliteJobDatabase::DiskBytes() const {
  uint64_t bytes = 0;
  for (const char* suffix : {"", "-wal"}) {
    std::error_code error;
    const uintmax_t size = std::filesystem::file_size(options_.file.string() + suffix, error);
    if (!error) bytes += size;
  }
  return bytes;
}

// A look at the pages: at all of a small file, at the roots of a large one, as the whole would take
// longer than a start may. What is damaged deeper is found in use.
absl::Status CheckPages(SqliteConnection& writer, const SqliteJobDatabaseOptions& options) {
  return writer.Guard("checking the database", [&]() -> absl::Status {
    SQLite::Database& database = writer.database();
    std::vector<std::string> tables;
    {
      SQLite::Statement rows(database, "SELECT name FROM sqlite_schema WHERE type = 'table'");
      while (rows.executeStep()) tables.push_back(rows.getColumn(0).getString());
    }
    for (const std::string& table : tables) {
      for (const char* order : {"", " DESC"}) {
        SQLite::Statement one(
            database, absl::StrCat("SELECT * FROM ", table, " ORDER BY 1", order, " LIMIT 1"));
        (void)one.executeStep();
      }
    }
    std::error_code error;
    const uintmax_t size = std::filesystem::file_size(options.file, error);
    if (error || size > options.check_bytes) return absl::OkStatus();
    // Not its indices: a row that differs from them is damage of that row, which is told by its
    // checksum.
    const std::string found = database.execAndGet("PRAGMA quick_check(1)").getString();
    if (found == "ok") return absl::OkStatus();
    throw SQLite::Exception(found, SQLITE_CORRUPT);
  });
}

// SQLite opens a file that cannot be opened for writing, or a log, read-only, and says so only when
// it is written to: by then there would be a server that remembers nothing.
absl::Status CheckWritable(SqliteConnection& writer) {
  if (sqlite3_db_readonly(writer.database().getHandle(), "main") != 0) {
    return absl::UnavailableError("the file can be read, but not written to");
  }
  return writer.Guard("its log can be read, but not written to", [&] {
    writer.database().exec("BEGIN IMMEDIATE; ROLLBACK");
    return absl::OkStatus();
  });
}

// Makes the writer's connection ready: the file's identity, its settings, its schema.
absl::Status PrepareWriter(SqliteConnection& writer, std::unique_ptr<LogMark> mark,
                           const SqliteJobDatabaseOptions& options) {
  TIFFIN_RETURN_IF_ERROR(CheckIdentity(writer, static_cast<int>(Migrations().size())));
  TIFFIN_RETURN_IF_ERROR(writer.Guard("setting up", [&]() -> absl::Status {
    writer.Configure(options.writer_cache_kib);
    SQLite::Database& database = writer.database();
    if (database.execAndGet("PRAGMA journal_mode = WAL").getString() != "wal") {
      return absl::FailedPreconditionError("the file system does not allow a write-ahead log");
    }
    database.exec("PRAGMA synchronous = FULL");  // NORMAL may forget commits at a power cut
    database.exec("PRAGMA secure_delete = OFF");
    const int64_t page = database.execAndGet("PRAGMA page_size").getInt64();
    writer.OwnLog(/*keep_bytes=*/2 * page * options.checkpoint_pages, std::move(mark));
    return absl::OkStatus();
  }));
  TIFFIN_RETURN_IF_ERROR(CheckWritable(writer));
  TIFFIN_RETURN_IF_ERROR(Migrate(writer, Migrations()));
  // A server that was killed may have left transactions in the log that were not synced, and SQLite
  // takes them as committed: before they are shown to anybody, or a repeated call is answered by
  // them, they go to the disk. Copied into the file, for after a failed sync the kernel may hold
  // pages of the log that it will never write. On a full disk they are synced at least, so that it
  // starts and can be read.
  TIFFIN_RETURN_IF_ERROR(writer.Checkpoint(SqliteConnection::CheckpointMode::kTruncate));
  if (writer.sync_failed()) return absl::UnavailableError("the log cannot be synced");
  TIFFIN_RETURN_IF_ERROR(CheckPages(writer, options));
  TIFFIN_RETURN_IF_ERROR(writer.Guard("setting up", [&] {
    writer.database().exec("PRAGMA foreign_keys = ON");
    return absl::OkStatus();
  }));
  return SyncFolder(options.file.parent_path());
}

}  // namespace

absl::StatusOr<std::unique_ptr<JobDatabase>> OpenSqliteJobDatabase(
    const SqliteJobDatabaseOptions& options) {
  const std::string where = absl::StrCat("opening ", options.file.string());
  try {
    absl::StatusOr<std::unique_ptr<LogMark>> mark = LogMark::Open(options.file);
    if (!mark.ok()) return Annotate(mark.status(), where);
    auto writer = std::make_unique<SqliteConnection>(options, SqliteConnection::Role::kWriter);
    absl::Status status = PrepareWriter(*writer, *std::move(mark), options);
    if (!status.ok()) return Annotate(status, where);
    absl::StatusOr<Counters> counters = LoadCounters(*writer);
    if (!counters.ok()) return Annotate(counters.status(), where);
    auto readers = std::make_unique<ReaderPool>(options);
    return std::make_unique<SqliteJobDatabase>(options, std::move(writer), std::move(readers),
                                               *counters);
  } catch (const SQLite::Exception& error) {
    // Only from opening a connection: there is no handle to ask for more.
    return absl::UnavailableError(absl::StrCat(where, ": ", error.what()));
  }
}

}  // namespace tiffin::server
