#include "server/jobs/sqlite_reader.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "server/jobs/sqlite_rows.h"

namespace tiffin::server {
namespace {

RowId ReadId(const Query& query) { return query.Int(0); }

// The first row, if there is one.
template <typename Row>
std::optional<Row> First(Query& query, Row (*read)(const Query&)) {
  if (!query.Step()) return std::nullopt;
  return read(query);
}

template <typename Row>
std::vector<Row> All(Query& query, Row (*read)(const Query&)) {
  std::vector<Row> rows;
  while (query.Step()) rows.push_back(read(query));
  return rows;
}

absl::StatusOr<std::optional<JobRow>> Sound(std::optional<JobRow> row) {
  if (row && row->damaged) return DamagedJobRow();
  return row;
}

}  // namespace

absl::StatusOr<Counters> LoadCounters(SqliteConnection& connection) {
  return connection.Guard("reading the counters", [&]() -> absl::StatusOr<Counters> {
    Query query(connection.Prepared(
        "SELECT epoch, jobs, done, failed, leases, aliases, sessions, blobs, namespaces, "
        "blob_bytes, evidence FROM counters WHERE id = 1"));
    if (!query.Step()) return absl::DataLossError("the row of counters is missing");
    return Counters{.epoch = query.Int(0),
                    .rows = {.jobs = query.Int(1),
                             .done = query.Int(2),
                             .failed = query.Int(3),
                             .leases = query.Int(4),
                             .aliases = query.Int(5),
                             .sessions = query.Int(6),
                             .blobs = query.Int(7),
                             .namespaces = query.Int(8),
                             .blob_bytes = query.Int(9),
                             .evidence = query.Int(10)}};
  });
}

template <typename I>
absl::StatusOr<RowId> SqliteLookups<I>::FindNamespace(std::string_view name) {
  if (const RowId known = known_.FindNamespace(name)) return known;
  return connection_.Guard("looking up a namespace", [&]() -> absl::StatusOr<RowId> {
    Query query(connection_.Prepared("SELECT id FROM namespaces WHERE name = ?"));
    const RowId id = First(query.BindName(name), ReadId).value_or(0);
    if (id != 0) known_.AddNamespace(name, id);
    return id;
  });
}

template <typename I>
absl::StatusOr<std::optional<JobRow>> SqliteLookups<I>::FindJob(RowId namespace_id,
                                                                const Digest& key) {
  return connection_.Guard("looking up a job", [&]() -> absl::StatusOr<std::optional<JobRow>> {
    Query query(connection_.Prepared(TIFFIN_SELECT_JOB "WHERE key = ? AND namespace = ?"));
    return Sound(First(query.Bind(key).Bind(namespace_id), ReadJob));
  });
}

template <typename I>
absl::StatusOr<std::optional<JobRow>> SqliteLookups<I>::FindJob(RowId id) {
  return connection_.Guard("looking up a job", [&]() -> absl::StatusOr<std::optional<JobRow>> {
    Query query(connection_.Prepared(TIFFIN_SELECT_JOB "WHERE id = ?"));
    return Sound(First(query.Bind(id), ReadJob));
  });
}

template <typename I>
absl::StatusOr<std::optional<std::string>> SqliteLookups<I>::FindJobRecord(RowId job) {
  using Found = absl::StatusOr<std::optional<std::string>>;
  return connection_.Guard("looking up a job's record", [&]() -> Found {
    Query query(connection_.Prepared("SELECT record FROM job_records WHERE job = ?"));
    if (!query.Bind(job).Step()) return std::nullopt;
    return query.Text(0);
  });
}

template <typename I>
absl::StatusOr<std::optional<HitsRow>> SqliteLookups<I>::FindHits(RowId job) {
  return connection_.Guard("looking up hits", [&]() -> absl::StatusOr<std::optional<HitsRow>> {
    Query query(connection_.Prepared("SELECT hits, last FROM hits WHERE job = ?"));
    if (!query.Bind(job).Step()) return std::nullopt;
    return HitsRow{.job = job, .hits = query.Int(0), .last = query.Time(1)};
  });
}

template <typename I>
absl::StatusOr<std::vector<JobRow>> SqliteLookups<I>::ListJobs(const JobRange& range, int limit) {
  return connection_.Guard("listing jobs", [&]() -> absl::StatusOr<std::vector<JobRow>> {
    const int64_t rows = std::max(limit, 0);
    const bool down = range.newest_first;
    const RowId from = down && range.after == 0 ? std::numeric_limits<RowId>::max() : range.after;
    if (!range.function.empty()) {
      Query query(connection_.Prepared(
          down ? TIFFIN_SELECT_JOB
              "WHERE namespace = ? AND function = ? AND id < ? ORDER BY id DESC LIMIT ?"
               : TIFFIN_SELECT_JOB
              "WHERE namespace = ? AND function = ? AND id > ? ORDER BY id LIMIT ?"));
      query.Bind(range.namespace_id).BindText(range.function).Bind(from).Bind(rows);
      return All(query, ReadJob);
    }
    if (range.session != 0) {
      // The '+' keeps the index of namespaces out of it: a session is of one namespace.
      Query query(connection_.Prepared(
          down ? TIFFIN_SELECT_JOB
              "WHERE session = ? AND +namespace = ? AND id < ? ORDER BY id DESC LIMIT ?"
               : TIFFIN_SELECT_JOB
              "WHERE session = ? AND +namespace = ? AND id > ? ORDER BY id LIMIT ?"));
      query.Bind(range.session).Bind(range.namespace_id).Bind(from).Bind(rows);
      return All(query, ReadJob);
    }
    Query query(connection_.Prepared(
        down ? TIFFIN_SELECT_JOB "WHERE namespace = ? AND id < ? ORDER BY id DESC LIMIT ?"
             : TIFFIN_SELECT_JOB "WHERE namespace = ? AND id > ? ORDER BY id LIMIT ?"));
    return All(query.Bind(range.namespace_id).Bind(from).Bind(rows), ReadJob);
  });
}

template <typename I>
absl::StatusOr<std::vector<JobRow>> SqliteLookups<I>::ListAllJobs(RowId after, int limit) {
  return connection_.Guard("listing jobs", [&]() -> absl::StatusOr<std::vector<JobRow>> {
    Query query(connection_.Prepared(TIFFIN_SELECT_JOB "WHERE id > ? ORDER BY id LIMIT ?"));
    return All(query.Bind(after).Bind(int64_t{std::max(limit, 0)}), ReadJob);
  });
}

template <typename I>
absl::StatusOr<std::optional<ResultRow>> SqliteLookups<I>::FindResult(RowId job) {
  return connection_.Guard(
      "looking up a result", [&]() -> absl::StatusOr<std::optional<ResultRow>> {
        Query query(connection_.Prepared(TIFFIN_SELECT_RESULT "WHERE job = ?"));
        return First(query.Bind(job), ReadResult);
      });
}

template <typename I>
absl::StatusOr<std::optional<ResultRow>> SqliteLookups<I>::FindValueOf(RowId namespace_id,
                                                                       const Digest& key) {
  return connection_.Guard("looking up a value", [&]() -> absl::StatusOr<std::optional<ResultRow>> {
    // The index of keys knows the id: the job's own row is not read.
    Query query(connection_.Prepared(
        TIFFIN_SELECT_RESULT "WHERE job = (SELECT id FROM jobs WHERE key = ? AND namespace = ?)"));
    if (!query.Bind(key).Bind(namespace_id).Step()) return std::nullopt;
    ResultRow row = ReadResult(query);
    if (row.kind != ResultKind::kValue || row.damaged || !IsResultOf(query, namespace_id, key)) {
      return std::nullopt;
    }
    return row;
  });
}

template <typename I>
absl::StatusOr<std::optional<LeaseRow>> SqliteLookups<I>::FindLease(RowId job) {
  return connection_.Guard("looking up a lease", [&]() -> absl::StatusOr<std::optional<LeaseRow>> {
    Query query(connection_.Prepared(TIFFIN_SELECT_LEASE "WHERE job = ?"));
    return First(query.Bind(job), ReadLease);
  });
}

template <typename I>
absl::StatusOr<std::optional<LeaseRow>> SqliteLookups<I>::FindLeaseById(std::string_view lease_id) {
  return connection_.Guard("looking up a lease", [&]() -> absl::StatusOr<std::optional<LeaseRow>> {
    Query query(connection_.Prepared(TIFFIN_SELECT_LEASE "WHERE lease_id = ?"));
    return First(query.BindName(lease_id), ReadLease);
  });
}

template <typename I>
absl::StatusOr<std::vector<LeaseRow>> SqliteLookups<I>::AllLeases() {
  return connection_.Guard("listing leases", [&]() -> absl::StatusOr<std::vector<LeaseRow>> {
    Query query(connection_.Prepared(TIFFIN_SELECT_LEASE "ORDER BY job"));
    return All(query, ReadLease);
  });
}

template <typename I>
absl::StatusOr<std::vector<RowId>> SqliteLookups<I>::JobsLinkedTo(RowId job) {
  return connection_.Guard("listing linked jobs", [&]() -> absl::StatusOr<std::vector<RowId>> {
    // The second condition is what the partial index is for.
    Query query(
        connection_.Prepared("SELECT id FROM jobs WHERE link = ? AND link != 0 ORDER BY id"));
    return All(query.Bind(job), ReadId);
  });
}

template <typename I>
absl::StatusOr<std::optional<SessionRow>> SqliteLookups<I>::FindSession(RowId id) {
  if (const SessionRow* known = known_.FindSession(id)) return *known;
  using Found = absl::StatusOr<std::optional<SessionRow>>;
  return connection_.Guard("looking up a session", [&]() -> Found {
    Query query(connection_.Prepared(TIFFIN_SELECT_SESSION "WHERE id = ?"));
    std::optional<SessionRow> session = First(query.Bind(id), ReadSession);
    if (session) known_.AddSession(*session);
    return session;
  });
}

template <typename I>
absl::StatusOr<std::optional<SessionRow>> SqliteLookups<I>::FindSession(RowId namespace_id,
                                                                        std::string_view token) {
  if (const SessionRow* known = known_.FindSession(namespace_id, token)) return *known;
  using Found = absl::StatusOr<std::optional<SessionRow>>;
  return connection_.Guard("looking up a session", [&]() -> Found {
    Query query(connection_.Prepared(TIFFIN_SELECT_SESSION "WHERE token = ? AND namespace = ?"));
    std::optional<SessionRow> session =
        First(query.BindName(token).Bind(namespace_id), ReadSession);
    if (session) known_.AddSession(*session);
    return session;
  });
}

template <typename I>
absl::StatusOr<std::optional<AliasRow>> SqliteLookups<I>::FindAlias(RowId namespace_id,
                                                                    std::string_view profile,
                                                                    std::string_view name) {
  return connection_.Guard("looking up an alias", [&]() -> absl::StatusOr<std::optional<AliasRow>> {
    Query query(connection_.Prepared(TIFFIN_SELECT_ALIAS
                                     "WHERE namespace = ? AND profile = ? AND name = ?"));
    return First(query.Bind(namespace_id).BindName(profile).BindName(name), ReadAlias);
  });
}

template <typename I>
absl::StatusOr<std::vector<AliasRow>> SqliteLookups<I>::ListAliases(RowId namespace_id,
                                                                    std::string_view profile,
                                                                    std::string_view after_profile,
                                                                    std::string_view after_name,
                                                                    int limit) {
  return connection_.Guard("listing aliases", [&]() -> absl::StatusOr<std::vector<AliasRow>> {
    const int64_t rows = std::max(limit, 0);  // a negative LIMIT means none
    if (profile.empty()) {
      Query query(connection_.Prepared(
          TIFFIN_SELECT_ALIAS
          "WHERE namespace = ? AND (profile, name) > (?, ?) ORDER BY profile, name LIMIT ?"));
      return All(query.Bind(namespace_id).BindName(after_profile).BindName(after_name).Bind(rows),
                 ReadAlias);
    }
    if (profile < after_profile) return std::vector<AliasRow>();
    if (profile > after_profile) {
      Query query(connection_.Prepared(
          TIFFIN_SELECT_ALIAS "WHERE namespace = ? AND profile = ? ORDER BY name LIMIT ?"));
      return All(query.Bind(namespace_id).BindName(profile).Bind(rows), ReadAlias);
    }
    Query query(connection_.Prepared(
        TIFFIN_SELECT_ALIAS
        "WHERE namespace = ? AND profile = ? AND name > ? ORDER BY name LIMIT ?"));
    query.Bind(namespace_id).BindName(profile).BindName(after_name);
    return All(query.Bind(rows), ReadAlias);
  });
}

template <typename I>
absl::StatusOr<std::vector<AliasRow>> SqliteLookups<I>::ListAllAliases(const AliasRow& after,
                                                                       int limit) {
  return connection_.Guard("listing aliases", [&]() -> absl::StatusOr<std::vector<AliasRow>> {
    Query query(connection_.Prepared(
        TIFFIN_SELECT_ALIAS
        "WHERE (namespace, profile, name) > (?, ?, ?) ORDER BY namespace, profile, name LIMIT ?"));
    query.Bind(after.namespace_id).BindName(after.profile).BindName(after.name);
    return All(query.Bind(int64_t{std::max(limit, 0)}), ReadAlias);
  });
}

template <typename I>
absl::StatusOr<std::optional<BlobRow>> SqliteLookups<I>::FindBlob(const BlobName& name) {
  return connection_.Guard("looking up a blob", [&]() -> absl::StatusOr<std::optional<BlobRow>> {
    Query query(connection_.Prepared("SELECT " TIFFIN_BLOB_COLUMNS
                                     "FROM blobs b WHERE key = ? AND dtype = ? AND shape = ?"));
    query.Bind(name.key).BindText(name.dtype).BindName(ShapeText(name.shape));
    return First(query, ReadBlob);
  });
}

template <typename I>
absl::StatusOr<std::optional<BlobRow>> SqliteLookups<I>::FindBlob(RowId id) {
  return connection_.Guard("looking up a blob", [&]() -> absl::StatusOr<std::optional<BlobRow>> {
    Query query(connection_.Prepared("SELECT " TIFFIN_BLOB_COLUMNS "FROM blobs b WHERE id = ?"));
    return First(query.Bind(id), ReadBlob);
  });
}

template <typename I>
absl::StatusOr<std::vector<BlobRow>> SqliteLookups<I>::FindBlobsByKey(RowId namespace_id,
                                                                      const Digest& key) {
  return connection_.Guard("looking up blobs", [&]() -> absl::StatusOr<std::vector<BlobRow>> {
    Query query(connection_.Prepared("SELECT " TIFFIN_BLOB_COLUMNS
                                     "FROM blobs b JOIN blob_views v ON v.blob = b.id "
                                     "WHERE b.key = ? AND v.namespace = ? ORDER BY b.id"));
    return All(query.Bind(key).Bind(namespace_id), ReadBlob);
  });
}

template <typename I>
absl::StatusOr<bool> SqliteLookups<I>::BlobVisible(RowId namespace_id, RowId blob) {
  return connection_.Guard("looking up a blob's view", [&]() -> absl::StatusOr<bool> {
    Query query(connection_.Prepared("SELECT 1 FROM blob_views WHERE blob = ? AND namespace = ?"));
    return query.Bind(blob).Bind(namespace_id).Step();
  });
}

template <typename I>
absl::StatusOr<std::optional<BlobRow>> SqliteLookups<I>::FindValue(const Digest& value) {
  return connection_.Guard("looking up a value", [&]() -> absl::StatusOr<std::optional<BlobRow>> {
    Query query(connection_.Prepared(TIFFIN_SELECT_VALUE "WHERE value = ?"));
    const std::optional<ValueRow> row = First(query.Bind(value), ReadValue);
    if (!row || row->damaged) return std::nullopt;
    return FindBlob(row->blob);
  });
}

template <typename I>
absl::StatusOr<std::vector<ValueRow>> SqliteLookups<I>::ListValues(
    const std::optional<Digest>& after, int limit) {
  return connection_.Guard("listing values", [&]() -> absl::StatusOr<std::vector<ValueRow>> {
    Query query(connection_.Prepared(TIFFIN_SELECT_VALUE "WHERE value > ? ORDER BY value LIMIT ?"));
    query.BindBytes(after ? after->view() : std::string_view());
    return All(query.Bind(int64_t{std::max(limit, 0)}), ReadValue);
  });
}

template <typename I>
absl::StatusOr<std::vector<BlobRow>> SqliteLookups<I>::BlobsInPack(std::string_view pack) {
  return connection_.Guard("listing a pack", [&]() -> absl::StatusOr<std::vector<BlobRow>> {
    Query query(connection_.Prepared("SELECT " TIFFIN_BLOB_COLUMNS
                                     "FROM blobs b WHERE pack = ? ORDER BY id"));
    return All(query.BindName(pack), ReadBlob);
  });
}

template <typename I>
absl::StatusOr<std::vector<BlobRow>> SqliteLookups<I>::ListBlobs(RowId namespace_id, RowId after,
                                                                 int limit) {
  return connection_.Guard("listing blobs", [&]() -> absl::StatusOr<std::vector<BlobRow>> {
    Query query(
        connection_.Prepared("SELECT " TIFFIN_BLOB_COLUMNS
                             "FROM blob_views v CROSS JOIN blobs b ON b.id = v.blob "
                             "WHERE v.blob > ? AND v.namespace = ? ORDER BY v.blob LIMIT ?"));
    query.Bind(after).Bind(namespace_id);
    return All(query.Bind(int64_t{std::max(limit, 0)}), ReadBlob);
  });
}

template <typename I>
absl::StatusOr<bool> SqliteLookups<I>::BlobInUse(RowId blob) {
  return connection_.Guard("looking up a blob's uses", [&]() -> absl::StatusOr<bool> {
    Query query(
        connection_.Prepared("SELECT 1 FROM uses WHERE blob = ?1 UNION ALL SELECT 1 FROM holds "
                             "WHERE inner = ?1 LIMIT 1"));
    return query.Bind(blob).Step();
  });
}

template <typename I>
absl::StatusOr<std::vector<BlobRow>> SqliteLookups<I>::UnusedBlobs(RowId after, int limit) {
  return connection_.Guard("listing unused blobs", [&]() -> absl::StatusOr<std::vector<BlobRow>> {
    Query query(connection_.Prepared(
        "SELECT " TIFFIN_BLOB_COLUMNS
        "FROM blobs b WHERE b.id > ? "
        "AND NOT EXISTS (SELECT 1 FROM uses u WHERE u.blob = b.id) "
        "AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.inner = b.id) ORDER BY b.id LIMIT ?"));
    return All(query.Bind(after).Bind(int64_t{std::max(limit, 0)}), ReadBlob);
  });
}

template <typename I>
absl::StatusOr<std::vector<BlobRow>> SqliteLookups<I>::ListAllBlobs(RowId after, int limit) {
  return connection_.Guard("listing blobs", [&]() -> absl::StatusOr<std::vector<BlobRow>> {
    Query query(connection_.Prepared("SELECT " TIFFIN_BLOB_COLUMNS
                                     "FROM blobs b WHERE b.id > ? ORDER BY b.id LIMIT ?"));
    return All(query.Bind(after).Bind(int64_t{std::max(limit, 0)}), ReadBlob);
  });
}

template <typename I>
absl::StatusOr<std::vector<ResultUse>> SqliteLookups<I>::ListResultUses(RowId after, int limit) {
  return connection_.Guard("listing results", [&]() -> absl::StatusOr<std::vector<ResultUse>> {
    Query query(connection_.Prepared(
        "SELECT r.job, max(r.stored, coalesce(h.last, 0)) FROM results r "
        "LEFT JOIN hits h ON h.job = r.job WHERE r.job > ? ORDER BY r.job LIMIT ?"));
    return All<ResultUse>(query.Bind(after).Bind(int64_t{std::max(limit, 0)}),
                          [](const Query& row) {
                            return ResultUse{row.Int(0), row.Time(1)};
                          });
  });
}

template <typename I>
absl::StatusOr<std::vector<AliasRow>> SqliteLookups<I>::AliasesOf(RowId job) {
  return connection_.Guard("listing aliases", [&]() -> absl::StatusOr<std::vector<AliasRow>> {
    Query query(connection_.Prepared(TIFFIN_SELECT_ALIAS
                                     "WHERE job = ? ORDER BY namespace, profile, name"));
    return All(query.Bind(job), ReadAlias);
  });
}

template <typename I>
absl::StatusOr<uint64_t> SqliteLookups<I>::UsedBytes() {
  return connection_.Guard("measuring the database", [&]() -> absl::StatusOr<uint64_t> {
    const auto number = [&](const char* sql) {
      Query query(connection_.Prepared(sql));
      query.Step();
      return static_cast<uint64_t>(query.Int(0));
    };
    return (number("PRAGMA page_count") - number("PRAGMA freelist_count")) *
           number("PRAGMA page_size");
  });
}

template <typename I>
absl::StatusOr<std::vector<RowId>> SqliteLookups<I>::BlobsHolding(RowId inner) {
  return connection_.Guard("listing a blob's holders", [&]() -> absl::StatusOr<std::vector<RowId>> {
    Query query(connection_.Prepared("SELECT blob FROM holds WHERE inner = ? ORDER BY blob"));
    return All(query.Bind(inner), ReadId);
  });
}

template <typename I>
absl::StatusOr<std::vector<RowId>> SqliteLookups<I>::BlobsHeldBy(RowId blob) {
  return connection_.Guard(
      "listing what a blob holds", [&]() -> absl::StatusOr<std::vector<RowId>> {
        Query query(connection_.Prepared("SELECT inner FROM holds WHERE blob = ? ORDER BY inner"));
        return All(query.Bind(blob), ReadId);
      });
}

template <typename I>
absl::StatusOr<PackUse> SqliteLookups<I>::UseOfPacks(std::string_view prefix) {
  return connection_.Guard("adding up packs", [&]() -> absl::StatusOr<PackUse> {
    std::string end(prefix);
    ++end.back();
    Query query(connection_.Prepared(
        "SELECT count(*), coalesce(sum(size), 0) FROM blobs WHERE pack >= ? AND pack < ?"));
    query.BindName(prefix).BindName(end).Step();
    return PackUse{std::string(prefix), static_cast<uint64_t>(query.Int(0)),
                   static_cast<uint64_t>(query.Int(1))};
  });
}

template <typename I>
absl::StatusOr<std::vector<PackUse>> SqliteLookups<I>::PackUses() {
  return connection_.Guard("adding up packs", [&]() -> absl::StatusOr<std::vector<PackUse>> {
    Query query(connection_.Prepared(
        "SELECT pack, count(*), sum(size) FROM blobs GROUP BY pack ORDER BY pack"));
    return All<PackUse>(query, [](const Query& row) {
      return PackUse{row.Text(0), static_cast<uint64_t>(row.Int(1)),
                     static_cast<uint64_t>(row.Int(2))};
    });
  });
}

template <typename I>
absl::StatusOr<std::vector<RowId>> SqliteLookups<I>::JobsUsing(RowId namespace_id, RowId blob,
                                                               BlobUse use, int limit) {
  return connection_.Guard("listing a blob's jobs", [&]() -> absl::StatusOr<std::vector<RowId>> {
    // CROSS JOIN keeps the order of the look-ups: the uses of one blob, already sorted by job.
    Query query(connection_.Prepared(
        "SELECT u.job FROM uses u CROSS JOIN jobs j ON j.id = u.job "
        "WHERE u.blob = ? AND u.use = ? AND j.namespace = ? ORDER BY u.job LIMIT ?"));
    query.Bind(blob).Bind(static_cast<int64_t>(use)).Bind(namespace_id);
    return All(query.Bind(int64_t{std::max(limit, 0)}), ReadId);
  });
}

template <typename I>
absl::StatusOr<std::vector<RowId>> SqliteLookups<I>::BlobsUsed(RowId job, BlobUse use) {
  return connection_.Guard("listing blobs", [&]() -> absl::StatusOr<std::vector<RowId>> {
    Query query(
        connection_.Prepared("SELECT blob FROM uses WHERE job = ? AND use = ? ORDER BY blob"));
    return All(query.Bind(job).Bind(static_cast<int64_t>(use)), ReadId);
  });
}

template <typename I>
absl::StatusOr<std::vector<RowId>> SqliteLookups<I>::AllJobsUsing(RowId blob, BlobUse use) {
  return connection_.Guard("listing a blob's jobs", [&]() -> absl::StatusOr<std::vector<RowId>> {
    Query query(
        connection_.Prepared("SELECT job FROM uses WHERE blob = ? AND use = ? ORDER BY job"));
    return All(query.Bind(blob).Bind(static_cast<int64_t>(use)), ReadId);
  });
}

template <typename I>
absl::StatusOr<std::vector<EvidenceRow>> SqliteLookups<I>::Evidence(RowId job) {
  return connection_.Guard("listing evidence", [&]() -> absl::StatusOr<std::vector<EvidenceRow>> {
    Query query(connection_.Prepared(
        "SELECT job, digest, session, at FROM evidence WHERE job = ? ORDER BY at, digest"));
    std::vector<EvidenceRow> rows;
    query.Bind(job);
    while (query.Step()) {
      rows.push_back({.job = query.Int(0),
                      .digest = query.Hash(1),
                      .session = query.Int(2),
                      .at = query.Time(3)});
    }
    return rows;
  });
}

template <typename I>
absl::StatusOr<std::vector<RowId>> SqliteLookups<I>::JobsWithEvidence(RowId after, int limit) {
  return connection_.Guard("listing evidence", [&]() -> absl::StatusOr<std::vector<RowId>> {
    Query query(connection_.Prepared(
        "SELECT DISTINCT job FROM evidence WHERE job > ? ORDER BY job LIMIT ?"));
    return All(query.Bind(after).Bind(int64_t{std::max(limit, 0)}), ReadId);
  });
}

template <typename I>
absl::StatusOr<std::vector<PackRow>> SqliteLookups<I>::AllPacks(PackState state) {
  return connection_.Guard("listing packs", [&]() -> absl::StatusOr<std::vector<PackRow>> {
    Query query(connection_.Prepared("SELECT name FROM packs WHERE state = ? ORDER BY name"));
    query.Bind(static_cast<int64_t>(state));
    std::vector<PackRow> rows;
    while (query.Step()) rows.push_back({.name = query.Text(0), .state = state});
    return rows;
  });
}

template <typename I>
absl::StatusOr<std::optional<PackRow>> SqliteLookups<I>::FindPack(std::string_view name) {
  return connection_.Guard("looking up a pack", [&]() -> absl::StatusOr<std::optional<PackRow>> {
    Query query(connection_.Prepared("SELECT state FROM packs WHERE name = ?"));
    if (!query.BindName(name).Step()) return std::nullopt;
    return PackRow{.name = std::string(name), .state = static_cast<PackState>(query.Int(0))};
  });
}

template class SqliteLookups<JobReader>;
template class SqliteLookups<JobTransaction>;

absl::StatusOr<DatabaseCounts> SqliteReader::Counts() {
  absl::StatusOr<Counters> counters = LoadCounters(connection_);
  if (!counters.ok()) return counters.status();
  return counters->rows;
}

}  // namespace tiffin::server
