// Private to this folder: the writer's transaction in memory.
#ifndef TIFFIN_SERVER_JOBS_MEMORY_TRANSACTION_H_
#define TIFFIN_SERVER_JOBS_MEMORY_TRANSACTION_H_

#include <functional>
#include <string_view>

#include "server/jobs/memory_state.h"

namespace tiffin::server {

// Operations on one state, of which those that fail are taken back.
class MemoryTransaction final : public MemoryLookups<JobTransaction> {
 public:
  // `state` outlives it.
  explicit MemoryTransaction(MemoryState* state)
      : MemoryLookups(state), state_(*state), log_(state) {}

  // After an error or an exception (INTERNAL) nothing of the operation is left.
  absl::Status RunOperation(const std::function<absl::Status(JobTransaction&)>& apply);
  // Brings a copy of the state, as it was before, up to date.
  void RedoOn(MemoryState& copy) const;

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
  // Remembers the error of a change: the operation is lost whatever it returns.
  absl::Status Fail(absl::Status error);
  // INTERNAL unless the row that another refers to is there (SQL's foreign keys).
  absl::Status NeedNamespace(RowId id);
  absl::Status NeedJob(RowId id);
  absl::Status NeedBlob(RowId id);

  MemoryState& state_;
  ChangeLog log_;
  absl::Status failure_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_MEMORY_TRANSACTION_H_
