#include "server/jobs/sqlite_rebuild.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "server/jobs/sqlite_connection.h"
#include "server/jobs/sqlite_rows.h"
#include "server/jobs/sqlite_salvage.h"
#include "server/jobs/sqlite_schema.h"

namespace tiffin::server {
namespace {

// Epochs are never given twice; if the counter is lost, so many more than were seen may have been
// given.
constexpr int64_t kEpochMargin = 1'000'000;

class Rebuild {
 public:
  Rebuild(SqliteConnection& to, RebuildSource& source, std::multimap<Digest, int64_t> old_ids)
      : connection_(to), to_(to.database()), source_(source), old_ids_(std::move(old_ids)) {}

  absl::StatusOr<RebuildCounts> Run() {
    CheckRecords();
    TIFFIN_RETURN_IF_ERROR(CheckBlobs());
    TIFFIN_RETURN_IF_ERROR(FindBlobs());
    DropDangling();
    TIFFIN_RETURN_IF_ERROR(EnterUses());
    Settle();
    Sign();
    Count();
    return counts_;
  }

 private:
  static std::string Now() { return absl::StrCat(absl::ToUnixMicros(absl::Now())); }

  std::vector<int64_t> Ids(const std::string& sql) {
    std::vector<int64_t> ids;
    SQLite::Statement rows(to_, sql);
    while (rows.executeStep()) ids.push_back(rows.getColumn(0).getInt64());
    return ids;
  }
  std::optional<std::string> Text(const std::string& sql, int64_t id) {
    SQLite::Statement row(to_, sql);
    row.bind(1, id);
    if (!row.executeStep()) return std::nullopt;
    return row.getColumn(0).getString();
  }
  template <typename Row>
  Row RowOf(const char* sql, int64_t id, Row (*read)(const Query&)) {
    Query query(connection_.Prepared(sql));
    query.Bind(id).Step();
    return read(query);
  }

  template <typename Row>
  std::vector<Row> All(const char* sql, Row (*read)(const Query&)) {
    std::vector<Row> rows;
    Query query(connection_.Prepared(sql));
    while (query.Step()) rows.push_back(read(query));
    return rows;
  }

  // A row that still reads may hold other bytes than it did: checksums, keys and digests tell.
  void CheckRecords() {
    for (const int64_t id : Ids("SELECT id FROM jobs")) {
      const auto record = Text("SELECT record FROM job_records WHERE job = ?", id);
      const JobRow row = RowOf(TIFFIN_SELECT_JOB "WHERE id = ?", id, ReadJob);
      if (record && !row.damaged && source_.JobIsSound(*record, row.key)) continue;
      to_.exec(absl::StrCat("DELETE FROM jobs WHERE id = ", id));
      ++counts_.lost_jobs;
    }
    for (const int64_t id : Ids("SELECT job FROM results")) {
      const ResultRow row = RowOf(TIFFIN_SELECT_RESULT "WHERE job = ?", id, ReadResult);
      if (!row.damaged && source_.ResultIsSound(row.record, row.digest)) continue;
      to_.exec(absl::StrCat("DELETE FROM results WHERE job = ", id));
    }
    for (const AliasRow& row : All<AliasRow>(TIFFIN_SELECT_ALIAS, ReadAlias)) {
      if (!row.damaged) continue;
      Query remove(connection_.Prepared(
          "DELETE FROM aliases WHERE namespace = ? AND profile = ? AND name = ?"));
      remove.Bind(row.namespace_id).BindText(row.profile).BindText(row.name).Run();
    }
    for (const ValueRow& row : All<ValueRow>(TIFFIN_SELECT_VALUE, ReadValue)) {
      if (!row.damaged) continue;
      Query(connection_.Prepared("DELETE FROM value_digests WHERE value = ?"))
          .Bind(row.value)
          .Run();
    }
  }

  absl::Status CheckBlobs() {
    for (const int64_t id : Ids("SELECT id FROM blobs")) {
      const BlobRow row =
          RowOf("SELECT " TIFFIN_BLOB_COLUMNS "FROM blobs b WHERE id = ?", id, ReadBlob);
      const std::string place =
          row.location.starts_with('!') ? row.location.substr(1) : row.location;
      const auto checksums = source_.ChecksumsOf({row.name, row.size, place});
      Place(id, checksums ? place : "!" + place, checksums.value_or(row.checksums));
    }
    return absl::OkStatus();
  }
  void Place(int64_t id, const std::string& location, const std::string& checksums) {
    Query update(connection_.Prepared("UPDATE blobs SET location = ?, checksums = ? WHERE id = ?"));
    update.BindText(location).BindBytes(checksums).Bind(id).Run();
  }

  absl::Status FindBlobs() {
    // Beyond every number that something may still refer to.
    next_id_ = to_.execAndGet(
                      "SELECT max(coalesce((SELECT max(id) FROM blobs), 0), "
                      "coalesce((SELECT max(blob) FROM uses), 0), "
                      "coalesce((SELECT max(blob) FROM blob_views), 0), "
                      "coalesce((SELECT max(blob) FROM value_digests), 0), "
                      "coalesce((SELECT max(max(blob, inner)) FROM holds), 0))")
                   .getInt64();
    for (const auto& [key, id] : old_ids_) next_id_ = std::max(next_id_, id);
    return source_.ForEachPacked([this](const PackedBlob& blob) -> absl::Status {
      Query known(connection_.Prepared(
          "SELECT id, location FROM blobs WHERE key = ? AND dtype = ? AND shape = ?"));
      known.Bind(blob.name.key).BindText(blob.name.dtype).BindName(ShapeText(blob.name.shape));
      const bool there = known.Step();
      if (there && !known.Text(1).starts_with('!')) return absl::OkStatus();
      const auto checksums = source_.ChecksumsOf(blob);
      if (!checksums) return absl::OkStatus();
      if (there) {
        Place(known.Int(0), blob.location, *checksums);
        return absl::OkStatus();
      }
      Query insert(connection_.Prepared(
          "INSERT INTO blobs (id, key, dtype, shape, size, created, location, checksums) "
          "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"));
      insert.Bind(IdFor(blob.name.key)).Bind(blob.name.key).BindText(blob.name.dtype);
      insert.BindName(ShapeText(blob.name.shape)).Bind(static_cast<int64_t>(blob.size));
      insert.Bind(absl::Now()).BindText(blob.location).BindBytes(*checksums).Run();
      ++counts_.found;
      return absl::OkStatus();
    });
  }
  // The number it had, if that is known, so that what refers to it by number still does.
  int64_t IdFor(const Digest& key) {
    const auto [first, last] = old_ids_.equal_range(key);
    if (first != last && std::next(first) == last) {
      Query taken(connection_.Prepared("SELECT 1 FROM blobs WHERE id = ?"));
      if (!taken.Bind(first->second).Step()) return first->second;
    }
    return ++next_id_;
  }

  void DropDangling() {
    for (const char* sql :
         {"DELETE FROM job_records WHERE job NOT IN (SELECT id FROM jobs)",
          "DELETE FROM hits WHERE job NOT IN (SELECT id FROM jobs)",
          "DELETE FROM leases WHERE job NOT IN (SELECT id FROM jobs)",
          "DELETE FROM results WHERE job NOT IN (SELECT id FROM jobs)",
          "DELETE FROM evidence WHERE job NOT IN (SELECT id FROM jobs)",
          "DELETE FROM aliases WHERE job NOT IN (SELECT id FROM jobs)",
          "DELETE FROM uses WHERE job NOT IN (SELECT id FROM jobs) "
          "OR blob NOT IN (SELECT id FROM blobs)",
          "DELETE FROM holds WHERE blob NOT IN (SELECT id FROM blobs) "
          "OR inner NOT IN (SELECT id FROM blobs)",
          "DELETE FROM value_digests WHERE blob NOT IN (SELECT id FROM blobs)",
          "DELETE FROM blob_views WHERE blob NOT IN (SELECT id FROM blobs)",
          // Namespaces whose rows are lost, but for their numbers.
          "INSERT OR IGNORE INTO namespaces (id, name) SELECT DISTINCT namespace, "
          "'lost-' || namespace FROM (SELECT namespace FROM jobs UNION SELECT namespace FROM "
          "sessions UNION SELECT namespace FROM aliases UNION SELECT namespace FROM blob_views)"}) {
      to_.exec(sql);
    }
  }

  std::optional<int64_t> Find(const RecordRef& ref) {
    if (const auto* name = std::get_if<BlobName>(&ref)) {
      Query query(
          connection_.Prepared("SELECT id FROM blobs WHERE key = ? AND dtype = ? AND shape = ? "
                               "AND substr(location, 1, 1) != '!'"));
      query.Bind(name->key).BindText(name->dtype).BindName(ShapeText(name->shape));
      if (!query.Step()) return std::nullopt;
      return query.Int(0);
    }
    Query query(
        connection_.Prepared("SELECT b.id FROM value_digests d JOIN blobs b ON b.id = d.blob "
                             "WHERE d.value = ? AND substr(b.location, 1, 1) != '!'"));
    if (!query.Bind(std::get<ValueRef>(ref).value).Step()) return std::nullopt;
    return query.Int(0);
  }

  // Results and jobs tell themselves which blobs they use.
  absl::Status EnterUses() {
    for (const int use : {2, 1}) {
      const std::string table = use == 2 ? "results" : "job_records";
      for (const int64_t job : Ids(absl::StrCat("SELECT job FROM ", table))) {
        const auto record = Text(absl::StrCat("SELECT record FROM ", table, " WHERE job = ?"), job);
        TIFFIN_ASSIGN_OR_RETURN(const std::vector<RecordRef> refs, source_.RefsIn(*record));
        bool whole = true;
        for (const RecordRef& ref : refs) {
          const std::optional<int64_t> blob = Find(ref);
          whole = whole && blob.has_value();
          if (!blob) continue;
          Query insert(connection_.Prepared(
              "INSERT INTO uses (job, use, blob) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"));
          insert.Bind(job).Bind(int64_t{use}).Bind(*blob).Run();
        }
        if (use == 2 && !whole) to_.exec(absl::StrCat("DELETE FROM results WHERE job = ", job));
      }
    }
    // And those that need a damaged blob through a value.
    to_.exec(
        "DELETE FROM results WHERE job IN (WITH RECURSIVE bad(id) AS (SELECT id FROM blobs WHERE "
        "substr(location, 1, 1) = '!' UNION SELECT blob FROM holds JOIN bad ON inner = id) "
        "SELECT job FROM uses JOIN bad ON blob = id WHERE use = 2)");
    return absl::OkStatus();
  }

  // States that rows bear out.
  void Settle() {
    const std::string now = Now();
    counts_.lost_results = to_.exec(
        absl::StrCat("UPDATE jobs SET state = 0, link = 0, tombstone = 3, buried = ", now,
                     " WHERE state IN (2, 3, 4, 5) AND id NOT IN (SELECT job FROM results)"));
    for (const std::string& sql :
         {std::string("DELETE FROM uses WHERE use = 2 AND job NOT IN (SELECT job FROM results)"),
          std::string("UPDATE jobs SET state = 2, link = 0 WHERE state = 3 "
                      "AND link NOT IN (SELECT id FROM jobs)"),
          std::string("UPDATE jobs SET state = 0 WHERE state = 1 "
                      "AND id NOT IN (SELECT job FROM leases)"),
          std::string(
              "DELETE FROM leases WHERE job IN (SELECT id FROM jobs WHERE state NOT IN (1, 2))"),
          std::string(
              "DELETE FROM results WHERE job IN (SELECT id FROM jobs WHERE state IN (0, 1))"),
          // Who uses a blob sees it; what nobody is known to see is in `default`.
          std::string("INSERT OR IGNORE INTO blob_views (blob, namespace) "
                      "SELECT u.blob, j.namespace FROM uses u JOIN jobs j ON j.id = u.job"),
          std::string("INSERT OR IGNORE INTO namespaces (name) VALUES ('default')"),
          std::string("INSERT INTO blob_views (blob, namespace) SELECT id, (SELECT id FROM "
                      "namespaces WHERE name = 'default') FROM blobs "
                      "WHERE id NOT IN (SELECT blob FROM blob_views)"),
          // Packs as the blobs say; what a location ends its name with tells open from sealed.
          std::string("DELETE FROM packs WHERE state = 0"),
          std::string(
              "INSERT OR REPLACE INTO packs (name, state) SELECT DISTINCT ltrim(pack, '!'), "
              "CASE WHEN instr(location, ':o:') > 0 THEN 1 ELSE 2 END FROM blobs")}) {
      to_.exec(sql);
    }
  }

  // Rows get the checksums of what they hold now.
  void Sign() {
    for (const int64_t id : Ids("SELECT id FROM jobs")) {
      const JobRow row = RowOf(TIFFIN_SELECT_JOB "WHERE id = ?", id, ReadJob);
      Query update(connection_.Prepared("UPDATE jobs SET checksum = ? WHERE id = ?"));
      update.Bind(ChecksumOf(row)).Bind(id).Run();
    }
    for (const int64_t id : Ids("SELECT job FROM results")) {
      const ResultRow row = RowOf(TIFFIN_SELECT_RESULT "WHERE job = ?", id, ReadResult);
      const JobRow job = RowOf(TIFFIN_SELECT_JOB "WHERE id = ?", id, ReadJob);
      const int64_t checksum = ChecksumOf(row);
      Query update(
          connection_.Prepared("UPDATE results SET checksum = ?, job_checksum = ? WHERE job = ?"));
      update.Bind(checksum).Bind(JobChecksumOf(checksum, job.namespace_id, job.key)).Bind(id).Run();
    }
    for (const AliasRow& row : All<AliasRow>(TIFFIN_SELECT_ALIAS, ReadAlias)) {
      Query update(connection_.Prepared(
          "UPDATE aliases SET checksum = ? WHERE namespace = ? AND profile = ? AND name = ?"));
      update.Bind(ChecksumOf(row))
          .Bind(row.namespace_id)
          .BindText(row.profile)
          .BindText(row.name)
          .Run();
    }
    for (const ValueRow& row : All<ValueRow>(TIFFIN_SELECT_VALUE, ReadValue)) {
      Query update(connection_.Prepared("UPDATE value_digests SET checksum = ? WHERE value = ?"));
      update.Bind(ChecksumOf(row)).Bind(row.value).Run();
    }
  }

  void Count() {
    const bool known = to_.execAndGet("SELECT epoch FROM counters").getInt64() > 0;
    to_.exec(absl::StrCat(
        "UPDATE counters SET "
        "epoch = max(epoch, (SELECT coalesce(max(max(epoch, valid_from)), 0) FROM jobs), "
        "(SELECT coalesce(max(epoch), 0) FROM leases), "
        "(SELECT coalesce(max(epoch), 0) FROM results)) + ",
        known ? 0 : kEpochMargin,
        ", jobs = (SELECT count(*) FROM jobs), done = (SELECT count(*) FROM jobs WHERE state = 4), "
        "failed = (SELECT count(*) FROM jobs WHERE state = 5), "
        "leases = (SELECT count(*) FROM leases), aliases = (SELECT count(*) FROM aliases), "
        "sessions = (SELECT count(*) FROM sessions), blobs = (SELECT count(*) FROM blobs), "
        "namespaces = (SELECT count(*) FROM namespaces), "
        "blob_bytes = (SELECT coalesce(sum(size), 0) FROM blobs), "
        "evidence = (SELECT count(*) FROM evidence)"));
    counts_.jobs = to_.execAndGet("SELECT jobs FROM counters").getInt64();
    counts_.blobs = to_.execAndGet("SELECT blobs FROM counters").getInt64();
    counts_.results = to_.execAndGet("SELECT count(*) FROM results").getInt64();
    counts_.damaged_blobs =
        to_.execAndGet("SELECT count(*) FROM blobs WHERE substr(location, 1, 1) = '!'").getInt64();
  }

  SqliteConnection& connection_;
  SQLite::Database& to_;
  RebuildSource& source_;
  const std::multimap<Digest, int64_t> old_ids_;
  int64_t next_id_ = 0;
  RebuildCounts counts_;
};

}  // namespace

absl::StatusOr<RebuildCounts> RebuildSqliteDatabase(const std::filesystem::path& from,
                                                    const std::filesystem::path& to,
                                                    RebuildSource& source) {
  try {
    SqliteConnection target({.file = to}, SqliteConnection::Role::kWriter);
    TIFFIN_RETURN_IF_ERROR(Migrate(target, Migrations()));
    return target.Guard("rebuilding the database", [&]() -> absl::StatusOr<RebuildCounts> {
      SQLite::Database& database = target.database();
      database.exec("PRAGMA synchronous = FULL");
      database.exec("BEGIN IMMEDIATE");
      std::multimap<Digest, int64_t> old_ids;
      bool damaged = false;
      std::error_code error;
      if (std::filesystem::exists(from, error)) {
        SqliteConnection old({.file = from}, SqliteConnection::Role::kReader);
        Salvage salvage(old.database(), database);
        salvage.CopyAll();
        old_ids = salvage.BlobIds();
        damaged = salvage.damaged();
      }
      Rebuild rebuild(target, source, std::move(old_ids));
      TIFFIN_ASSIGN_OR_RETURN(RebuildCounts counts, rebuild.Run());
      counts.rows_damaged = damaged;
      database.exec("COMMIT");
      const std::string check = database.execAndGet("PRAGMA integrity_check").getString();
      if (check != "ok") return absl::InternalError("the new database is not whole: " + check);
      return counts;
    });
  } catch (const SQLite::Exception& error) {
    return absl::UnavailableError(absl::StrCat("rebuilding the database: ", error.what()));
  }
}

}  // namespace tiffin::server
