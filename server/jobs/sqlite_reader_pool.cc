#include "server/jobs/sqlite_reader_pool.h"

#include <algorithm>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tiffin::server {
namespace {

absl::Status Look(const std::function<absl::Status(JobReader&)>& look, JobReader& reader) {
  try {
    return look(reader);
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("a look-up threw: ", error.what()));
  } catch (...) {
    return absl::InternalError("a look-up threw");
  }
}

}  // namespace

class ReaderPool::Borrowed {
 public:
  explicit Borrowed(ReaderPool& pool) : pool_(pool) {
    std::unique_lock lock(pool_.mutex_);
    pool_.freed_.wait(lock, [&] { return !pool_.idle_.empty(); });
    slot_ = std::move(pool_.idle_.back());  // the last one used: its cache is warm
    pool_.idle_.pop_back();
  }
  ~Borrowed() {
    {
      std::lock_guard lock(pool_.mutex_);
      pool_.idle_.push_back(std::move(slot_));
    }
    pool_.freed_.notify_one();
  }
  Borrowed(const Borrowed&) = delete;
  Borrowed& operator=(const Borrowed&) = delete;

  Slot* operator->() const { return slot_.get(); }

 private:
  ReaderPool& pool_;
  std::unique_ptr<Slot> slot_;
};

ReaderPool::ReaderPool(const SqliteJobDatabaseOptions& options) {
  for (int i = 0; i < std::max(options.readers, 1); ++i) {
    idle_.push_back(std::make_unique<Slot>(options));
    idle_.back()->connection.Configure(options.reader_cache_kib);
  }
}

absl::Status ReaderPool::Read(const std::function<absl::Status(JobReader&)>& look) {
  Borrowed slot(*this);
  SqliteConnection& connection = slot->connection;
  TIFFIN_RETURN_IF_ERROR(connection.Guard("beginning to read", [&] {
    connection.Run("BEGIN");
    return absl::OkStatus();
  }));
  absl::Status status = Look(look, slot->reader);
  // A snapshot that stays open would keep the log from being started anew. There is nothing to
  // commit, so its end cannot matter to the answer.
  connection
      .Guard("ending to read",
             [&] {
               connection.Run("COMMIT");
               return absl::OkStatus();
             })
      .IgnoreError();
  if (connection.InTransaction()) connection.database().tryExec("ROLLBACK");
  return status;
}

}  // namespace tiffin::server
