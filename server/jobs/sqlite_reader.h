// Private to this folder: the look-ups, in SQL.
#ifndef TIFFIN_SERVER_JOBS_SQLITE_READER_H_
#define TIFFIN_SERVER_JOBS_SQLITE_READER_H_

#include <optional>
#include <string_view>
#include <vector>

#include "server/jobs/counters.h"
#include "server/jobs/known_rows.h"
#include "server/jobs/sqlite_connection.h"

namespace tiffin::server {

// The counters as stored.
absl::StatusOr<Counters> LoadCounters(SqliteConnection& connection);

// The look-ups on one connection, for whichever interface they are part of: JobReader or
// JobTransaction. They see what the connection's transaction sees.
template <typename Interface>
class SqliteLookups : public Interface {
 public:
  // `connection` outlives it.
  explicit SqliteLookups(SqliteConnection* connection) : connection_(*connection) {}

  absl::StatusOr<RowId> FindNamespace(std::string_view name) override;
  absl::StatusOr<std::optional<JobRow>> FindJob(RowId namespace_id, const Digest& key) override;
  absl::StatusOr<std::optional<JobRow>> FindJob(RowId id) override;
  absl::StatusOr<std::optional<std::string>> FindJobRecord(RowId job) override;
  absl::StatusOr<std::vector<JobRow>> ListJobs(const JobRange& range, int limit) override;
  absl::StatusOr<std::vector<JobRow>> ListAllJobs(RowId after, int limit) override;
  absl::StatusOr<std::optional<HitsRow>> FindHits(RowId job) override;
  absl::StatusOr<std::optional<ResultRow>> FindResult(RowId job) override;
  absl::StatusOr<std::optional<ResultRow>> FindValueOf(RowId namespace_id,
                                                       const Digest& key) override;
  absl::StatusOr<std::optional<LeaseRow>> FindLease(RowId job) override;
  absl::StatusOr<std::optional<LeaseRow>> FindLeaseById(std::string_view lease_id) override;
  absl::StatusOr<std::vector<LeaseRow>> AllLeases() override;
  absl::StatusOr<std::vector<RowId>> JobsLinkedTo(RowId job) override;
  absl::StatusOr<std::optional<SessionRow>> FindSession(RowId id) override;
  absl::StatusOr<std::optional<SessionRow>> FindSession(RowId namespace_id,
                                                        std::string_view token) override;
  absl::StatusOr<std::optional<AliasRow>> FindAlias(RowId namespace_id, std::string_view profile,
                                                    std::string_view name) override;
  absl::StatusOr<std::vector<AliasRow>> ListAliases(RowId namespace_id, std::string_view profile,
                                                    std::string_view after_profile,
                                                    std::string_view after_name,
                                                    int limit) override;
  absl::StatusOr<std::vector<AliasRow>> ListAllAliases(const AliasRow& after, int limit) override;
  absl::StatusOr<std::optional<BlobRow>> FindBlob(const BlobName& name) override;
  absl::StatusOr<std::optional<BlobRow>> FindBlob(RowId id) override;
  absl::StatusOr<std::vector<BlobRow>> FindBlobsByKey(RowId namespace_id,
                                                      const Digest& key) override;
  absl::StatusOr<bool> BlobVisible(RowId namespace_id, RowId blob) override;
  absl::StatusOr<std::optional<BlobRow>> FindValue(const Digest& value) override;
  absl::StatusOr<std::vector<ValueRow>> ListValues(const std::optional<Digest>& after,
                                                   int limit) override;
  absl::StatusOr<std::vector<BlobRow>> BlobsInPack(std::string_view pack) override;
  absl::StatusOr<std::vector<BlobRow>> ListBlobs(RowId namespace_id, RowId after,
                                                 int limit) override;
  absl::StatusOr<bool> BlobInUse(RowId blob) override;
  absl::StatusOr<std::vector<BlobRow>> UnusedBlobs(RowId after, int limit) override;
  absl::StatusOr<std::vector<BlobRow>> ListAllBlobs(RowId after, int limit) override;
  absl::StatusOr<std::vector<ResultUse>> ListResultUses(RowId after, int limit) override;
  absl::StatusOr<std::vector<AliasRow>> AliasesOf(RowId job) override;
  absl::StatusOr<uint64_t> UsedBytes() override;
  absl::StatusOr<std::vector<RowId>> BlobsHolding(RowId inner) override;
  absl::StatusOr<std::vector<RowId>> BlobsHeldBy(RowId blob) override;
  absl::StatusOr<PackUse> UseOfPacks(std::string_view prefix) override;
  absl::StatusOr<std::vector<PackUse>> PackUses() override;
  absl::StatusOr<std::vector<RowId>> JobsUsing(RowId namespace_id, RowId blob, BlobUse use,
                                               int limit) override;
  absl::StatusOr<std::vector<RowId>> BlobsUsed(RowId job, BlobUse use) override;
  absl::StatusOr<std::vector<RowId>> AllJobsUsing(RowId blob, BlobUse use) override;
  absl::StatusOr<std::vector<EvidenceRow>> Evidence(RowId job) override;
  absl::StatusOr<std::vector<RowId>> JobsWithEvidence(RowId after, int limit) override;
  absl::StatusOr<std::vector<PackRow>> AllPacks(PackState state) override;
  absl::StatusOr<std::optional<PackRow>> FindPack(std::string_view name) override;

 protected:
  SqliteConnection& connection_;
  KnownRows known_;
};

extern template class SqliteLookups<JobReader>;
extern template class SqliteLookups<JobTransaction>;

class SqliteReader final : public SqliteLookups<JobReader> {
 public:
  using SqliteLookups<JobReader>::SqliteLookups;
  absl::StatusOr<DatabaseCounts> Counts() override;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_SQLITE_READER_H_
