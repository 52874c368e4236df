// Private to this folder: the read-only connections.
#ifndef TIFFIN_SERVER_JOBS_SQLITE_READER_POOL_H_
#define TIFFIN_SERVER_JOBS_SQLITE_READER_POOL_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "server/jobs/sqlite_connection.h"
#include "server/jobs/sqlite_reader.h"

namespace tiffin::server {

// Hands a read-only connection to one Read at a time. Threads: any.
class ReaderPool {
 public:
  // Opens options.readers connections; throws SQLite::Exception.
  explicit ReaderPool(const SqliteJobDatabaseOptions& options);

  // Waits for a free connection, never for the writer, and runs `look` inside one read transaction.
  absl::Status Read(const std::function<absl::Status(JobReader&)>& look);

 private:
  struct Slot {
    explicit Slot(const SqliteJobDatabaseOptions& options)
        : connection(options, SqliteConnection::Role::kReader), reader(&connection) {}
    SqliteConnection connection;
    SqliteReader reader;
  };
  // A slot taken out of the pool for as long as it lives.
  class Borrowed;

  std::mutex mutex_;
  std::condition_variable freed_;
  std::vector<std::unique_ptr<Slot>> idle_;  // guarded by mutex_
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_SQLITE_READER_POOL_H_
