// Private to this folder: the writer's transaction, and the changes in SQL.
#ifndef TIFFIN_SERVER_JOBS_SQLITE_TRANSACTION_H_
#define TIFFIN_SERVER_JOBS_SQLITE_TRANSACTION_H_

#include <cstdint>
#include <functional>
#include <string_view>
#include <type_traits>
#include <utility>

#include "server/jobs/counters.h"
#include "server/jobs/sqlite_connection.h"
#include "server/jobs/sqlite_reader.h"

namespace tiffin::server {

// One transaction after the other on the writer's connection: Begin, RunOperation any number of
// times, Commit. Used on the writer's thread.
class SqliteTransaction final : public SqliteLookups<JobTransaction> {
 public:
  using Apply = std::function<absl::Status(JobTransaction&)>;

  // `committed` are the counters as stored.
  SqliteTransaction(SqliteConnection* connection, const Counters& committed,
                    DiskRoom* room = nullptr)
      : SqliteLookups(connection), committed_(committed), room_(room) {}

  absl::Status Begin();
  // Runs one operation under a savepoint. After an error or an exception (INTERNAL) nothing of it
  // is left. If it had to end the whole transaction (a full disk), open() is false afterwards.
  absl::Status RunOperation(const Apply& apply);
  // RESOURCE_EXHAUSTED when the disk is full, else UNAVAILABLE: all was rolled back.
  absl::Status Commit();
  // False after Commit, and after an error that ended the transaction: all of it is rolled back.
  bool open() const { return connection_.InTransaction(); }
  // Of records, logs and blob rows since Begin.
  uint64_t bytes() const { return bytes_; }

  absl::StatusOr<DatabaseCounts> Counts() override { return counters_.rows; }

  absl::StatusOr<RowId> EnsureNamespace(std::string_view name) override;
  absl::StatusOr<RowId> EnsureSession(const SessionRow& session) override;
  absl::StatusOr<RowId> InsertJob(const JobRow& job) override;
  absl::Status UpdateJob(const JobRow& job) override;
  absl::Status PutResult(const ResultRow& result) override;
  absl::Status DeleteResult(RowId job) override;
  absl::Status PutLease(const LeaseRow& lease) override;
  absl::Status DeleteLease(RowId job) override;
  absl::StatusOr<int64_t> NextEpoch() override;
  absl::Status PutAlias(const AliasRow& alias) override;
  absl::Status DeleteAlias(RowId namespace_id, std::string_view profile,
                           std::string_view name) override;
  absl::Status AddEvidence(const EvidenceRow& evidence) override;
  absl::Status AddHits(const HitsRow& hits) override;
  absl::StatusOr<RowId> InsertBlob(const BlobRow& blob) override;
  absl::Status MoveBlob(RowId blob, std::string_view location, std::string_view checksums) override;
  absl::Status ShowBlob(RowId namespace_id, RowId blob) override;
  absl::Status PutValue(const Digest& value, RowId blob) override;
  absl::Status AddUse(RowId job, RowId blob, BlobUse use) override;
  absl::Status DropUses(RowId job, BlobUse use) override;
  absl::Status AddHold(RowId blob, RowId inner) override;
  absl::Status DeleteBlob(RowId blob) override;
  absl::Status PutPack(const PackRow& pack) override;
  absl::Status DeletePack(std::string_view name) override;

 private:
  // Runs one change, unless one of the operation failed before: its error is then repeated, as the
  // operation is lost, and a statement after an ended transaction would commit by itself.
  template <typename Body>
  std::invoke_result_t<Body> Change(std::string_view doing, Body&& body);

  // The same of a change that needs space: RESOURCE_EXHAUSTED while the disk is full. Narrow rows,
  // which hits write too, and sessions are not counted.
  template <typename Body>
  std::invoke_result_t<Body> Grow(std::string_view doing, Body&& body);

  absl::Status CheckAliasIndex(RowId namespace_id, std::string_view profile, std::string_view name);
  absl::Status Undo();  // back to the savepoint

  Counters committed_;  // as on disk
  Counters counters_;   // with this transaction's changes
  uint64_t bytes_ = 0;
  DiskRoom* const room_;  // may be null
  absl::Status failure_;  // the running operation's first failed change
};

template <typename Body>
std::invoke_result_t<Body> SqliteTransaction::Change(std::string_view doing, Body&& body) {
  using Result = std::invoke_result_t<Body>;
  if (failure_.ok() && !open()) {
    failure_ = absl::UnavailableError("the transaction was rolled back");
  }
  if (!failure_.ok()) return failure_;
  Result result = connection_.Guard(doing, std::forward<Body>(body));
  if constexpr (std::is_same_v<Result, absl::Status>) {
    failure_ = result;
  } else {
    failure_ = result.status();
  }
  return result;
}

template <typename Body>
std::invoke_result_t<Body> SqliteTransaction::Grow(std::string_view doing, Body&& body) {
  if (failure_.ok() && room_ != nullptr) failure_ = room_->Check();
  return Change(doing, std::forward<Body>(body));
}

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_SQLITE_TRANSACTION_H_
