#include "server/jobs/sqlite_transaction.h"

#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status.h"
#include "server/jobs/sqlite_rows.h"

namespace tiffin::server {
namespace {

// The answer to those whose operation went well when the transaction did not.
absl::Status Lost(const absl::Status& status) {
  if (status.ok() || absl::IsResourceExhausted(status)) return status;
  return absl::UnavailableError(status.message());
}

absl::Status Apply(const SqliteTransaction::Apply& apply, JobTransaction& transaction) {
  try {
    return apply(transaction);
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("an operation threw: ", error.what()));
  } catch (...) {
    return absl::InternalError("an operation threw");
  }
}

void StoreCounters(SqliteConnection& connection, const Counters& counters) {
  const DatabaseCounts& rows = counters.rows;
  Query query(connection.Prepared(
      "UPDATE counters SET epoch = ?, jobs = ?, done = ?, failed = ?, leases = ?, aliases = ?, "
      "sessions = ?, blobs = ?, namespaces = ?, blob_bytes = ?, evidence = ? WHERE id = 1"));
  query.Bind(counters.epoch).Bind(rows.jobs).Bind(rows.done).Bind(rows.failed);
  query.Bind(rows.leases).Bind(rows.aliases).Bind(rows.sessions).Bind(rows.blobs);
  query.Bind(rows.namespaces).Bind(rows.blob_bytes).Bind(rows.evidence).Run();
}

}  // namespace

absl::Status SqliteTransaction::Begin() {
  counters_ = committed_;
  bytes_ = 0;
  return Lost(connection_.Guard("beginning a transaction", [&] {
    connection_.Run("BEGIN IMMEDIATE");
    return absl::OkStatus();
  }));
}

absl::Status SqliteTransaction::RunOperation(const Apply& apply) {
  const Counters before = counters_;
  failure_ = connection_.Guard("starting an operation", [&] {
    connection_.Run("SAVEPOINT operation");
    return absl::OkStatus();
  });
  if (!failure_.ok()) return failure_;

  absl::Status status = server::Apply(apply, *this);
  if (status.ok()) status = failure_;
  if (status.ok() && !open()) status = absl::UnavailableError("the transaction was rolled back");
  if (status.ok()) {
    status = connection_.Guard("ending an operation", [&] {
      connection_.Run("RELEASE operation");
      return absl::OkStatus();
    });
  }
  if (status.ok()) return status;

  counters_ = before;
  known_.Forget();
  // If not even the savepoint can be had back, nothing of the transaction can be kept.
  if (open() && !Undo().ok()) connection_.database().tryExec("ROLLBACK");
  return status;
}

absl::Status SqliteTransaction::Undo() {
  return connection_.Guard("undoing an operation", [&] {
    connection_.Run("ROLLBACK TO operation");
    connection_.Run("RELEASE operation");
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::Commit() {
  absl::Status status = connection_.Guard("committing", [&] {
    if (counters_ != committed_) StoreCounters(connection_, counters_);
    connection_.Run("COMMIT");
    return absl::OkStatus();
  });
  if (status.ok()) {
    committed_ = counters_;
    return status;
  }
  known_.Forget();
  if (open()) connection_.database().tryExec("ROLLBACK");
  return Lost(status);
}

absl::StatusOr<RowId> SqliteTransaction::EnsureNamespace(std::string_view name) {
  return Change("adding a namespace", [&]() -> absl::StatusOr<RowId> {
    TIFFIN_ASSIGN_OR_RETURN(const RowId known, FindNamespace(name));
    if (known != 0) return known;
    Query query(connection_.Prepared("INSERT INTO namespaces (name) VALUES (?)"));
    query.BindName(name).Run();
    ++counters_.rows.namespaces;
    return connection_.database().getLastInsertRowid();
  });
}

absl::StatusOr<RowId> SqliteTransaction::EnsureSession(const SessionRow& session) {
  return Change("adding a session", [&]() -> absl::StatusOr<RowId> {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<SessionRow> known,
                            FindSession(session.namespace_id, session.token));
    if (known) return known->id;
    Query query(connection_.Prepared(
        "INSERT INTO sessions (namespace, token, name, user, host, script, since) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)"));
    query.Bind(session.namespace_id).BindText(session.token).BindText(session.name);
    query.BindText(session.user).BindText(session.host).BindText(session.script);
    query.Bind(session.since).Run();
    ++counters_.rows.sessions;
    return connection_.database().getLastInsertRowid();
  });
}

absl::StatusOr<RowId> SqliteTransaction::InsertJob(const JobRow& job) {
  return Grow("adding a job", [&]() -> absl::StatusOr<RowId> {
    Query query(connection_.Prepared(
        "INSERT INTO jobs (namespace, key, state, epoch, valid_from, losses, lost_hosts, link, "
        "session, function, version, created, tombstone, buried, keep, checksum) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    query.Bind(job.namespace_id).Bind(job.key).Bind(static_cast<int64_t>(job.state));
    query.Bind(job.epoch).Bind(job.valid_from).Bind(job.losses).BindText(job.lost_hosts);
    query.Bind(job.link).Bind(job.session).BindText(job.function).BindText(job.version);
    query.Bind(job.created).Bind(static_cast<int64_t>(job.tombstone)).Bind(job.buried);
    query.Bind(int64_t{job.keep}).Bind(ChecksumOf(job)).Run();
    const RowId id = connection_.database().getLastInsertRowid();
    Query record(connection_.Prepared("INSERT INTO job_records (job, record) VALUES (?, ?)"));
    record.Bind(id).BindText(job.record).Run();
    bytes_ += job.record.size();
    ++counters_.rows.jobs;
    counters_.CountState(job.state, +1);
    return id;
  });
}

absl::Status SqliteTransaction::UpdateJob(const JobRow& job) {
  return Change("changing a job", [&]() -> absl::Status {
    JobRow row = job;
    bool indexed = false;  // a column that an index holds changes, too
    {
      Query old(connection_.Prepared(
          "SELECT state, namespace, key, created, link, session, function FROM jobs WHERE id = ?"));
      if (!old.Bind(job.id).Step()) return absl::NotFoundError("the job to change is not there");
      counters_.CountState(static_cast<JobState>(old.Int(0)), -1);
      counters_.CountState(job.state, +1);
      row.namespace_id = old.Int(1);
      row.key = old.Hash(2);
      row.created = old.Time(3);
      indexed = old.Int(4) != job.link || old.Int(5) != job.session || old.Text(6) != job.function;
    }
    Query query(connection_.Prepared(
        "UPDATE jobs SET state = ?, epoch = ?, valid_from = ?, losses = ?, lost_hosts = ?, "
        "version = ?, tombstone = ?, buried = ?, keep = ?, checksum = ? WHERE id = ?"));
    query.Bind(static_cast<int64_t>(job.state)).Bind(job.epoch).Bind(job.valid_from);
    query.Bind(job.losses).BindText(job.lost_hosts).BindText(job.version);
    query.Bind(static_cast<int64_t>(job.tombstone)).Bind(job.buried).Bind(int64_t{job.keep});
    query.Bind(ChecksumOf(row)).Bind(job.id).Run();
    if (!indexed) return absl::OkStatus();
    Query more(
        connection_.Prepared("UPDATE jobs SET link = ?, session = ?, function = ? WHERE id = ?"));
    more.Bind(job.link).Bind(job.session).BindText(job.function).Bind(job.id).Run();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::PutResult(const ResultRow& result) {
  return Grow("storing a result", [&] {
    const int64_t checksum = ChecksumOf(result);
    int64_t job_checksum = 0;
    {
      Query job(connection_.Prepared("SELECT key, namespace FROM jobs WHERE id = ?"));
      if (job.Bind(result.job).Step())
        job_checksum = JobChecksumOf(checksum, job.Int(1), job.Hash(0));
    }
    Query query(connection_.Prepared(
        "INSERT OR REPLACE INTO results (job, kind, digest, epoch, session, stored, retryable, "
        "compute_seconds, exit_status, log, record, checksum, job_checksum) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"));
    query.Bind(result.job).Bind(static_cast<int64_t>(result.kind)).Bind(result.digest);
    query.Bind(result.epoch).Bind(result.session).Bind(result.stored);
    query.Bind(int64_t{result.retryable}).Bind(result.compute_seconds);
    query.Bind(int64_t{result.exit_status}).BindText(result.log).BindText(result.record);
    query.Bind(checksum).Bind(job_checksum).Run();
    bytes_ += result.record.size() + result.log.size();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeleteResult(RowId job) {
  return Change("deleting a result", [&] {
    Query(connection_.Prepared("DELETE FROM results WHERE job = ?")).Bind(job).Run();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::PutLease(const LeaseRow& lease) {
  return Grow("storing a lease", [&] {
    Query update(connection_.Prepared(
        "UPDATE leases SET lease_id = ?, epoch = ?, session = ?, request_id = ?, term = ?, "
        "granted = ? WHERE job = ?"));
    Query insert(connection_.Prepared(
        "INSERT INTO leases (lease_id, epoch, session, request_id, term, granted, job) "
        "VALUES (?, ?, ?, ?, ?, ?, ?)"));
    for (Query* query : {&update, &insert}) {
      query->BindText(lease.lease_id).Bind(lease.epoch).Bind(lease.session);
      query->BindText(lease.request_id).Bind(lease.term).Bind(lease.granted);
      query->Bind(lease.job);
    }
    if (update.Run() == 0) counters_.rows.leases += insert.Run();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeleteLease(RowId job) {
  return Change("deleting a lease", [&] {
    Query query(connection_.Prepared("DELETE FROM leases WHERE job = ?"));
    counters_.rows.leases -= query.Bind(job).Run();
    return absl::OkStatus();
  });
}

absl::StatusOr<int64_t> SqliteTransaction::NextEpoch() {
  return Change("taking an epoch", [&]() -> absl::StatusOr<int64_t> { return ++counters_.epoch; });
}

// A damaged row may no longer be what its index has. Changing it then would be taken for damage of
// the whole database, and nothing more be written.
absl::Status SqliteTransaction::CheckAliasIndex(RowId namespace_id, std::string_view profile,
                                                std::string_view name) {
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<AliasRow> row,
                          FindAlias(namespace_id, profile, name));
  if (!row || !row->damaged) return absl::OkStatus();
  Query indexed(
      connection_.Prepared("SELECT 1 FROM aliases INDEXED BY alias_job "
                           "WHERE job = ? AND namespace = ? AND profile = ? AND name = ?"));
  indexed.Bind(row->job).Bind(namespace_id).BindName(profile).BindName(name);
  return indexed.Step() ? absl::OkStatus() : DamagedIndexedRow("an alias");
}

absl::Status SqliteTransaction::PutAlias(const AliasRow& alias) {
  return Grow("storing an alias", [&]() -> absl::Status {
    TIFFIN_RETURN_IF_ERROR(CheckAliasIndex(alias.namespace_id, alias.profile, alias.name));
    Query update(
        connection_.Prepared("UPDATE aliases SET job = ?, checksum = ? WHERE namespace = ? AND "
                             "profile = ? AND name = ?"));
    Query insert(connection_.Prepared(
        "INSERT INTO aliases (job, checksum, namespace, profile, name) VALUES (?, ?, ?, ?, ?)"));
    for (Query* query : {&update, &insert}) {
      query->Bind(alias.job).Bind(ChecksumOf(alias)).Bind(alias.namespace_id);
      query->BindText(alias.profile).BindText(alias.name);
    }
    if (update.Run() == 0) counters_.rows.aliases += insert.Run();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeleteAlias(RowId namespace_id, std::string_view profile,
                                            std::string_view name) {
  return Change("deleting an alias", [&]() -> absl::Status {
    TIFFIN_RETURN_IF_ERROR(CheckAliasIndex(namespace_id, profile, name));
    Query query(connection_.Prepared(
        "DELETE FROM aliases WHERE namespace = ? AND profile = ? AND name = ?"));
    counters_.rows.aliases -= query.Bind(namespace_id).BindName(profile).BindName(name).Run();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::AddEvidence(const EvidenceRow& evidence) {
  return Grow("adding evidence", [&] {
    Query query(
        connection_.Prepared("INSERT INTO evidence (job, digest, session, at) VALUES (?, ?, ?, ?) "
                             "ON CONFLICT DO NOTHING"));
    query.Bind(evidence.job).Bind(evidence.digest).Bind(evidence.session).Bind(evidence.at);
    counters_.rows.evidence += query.Run();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::AddHits(const HitsRow& hits) {
  return Grow("counting hits", [&] {
    Query query(connection_.Prepared(
        "INSERT INTO hits (job, hits, last) VALUES (?, ?, ?) ON CONFLICT (job) DO UPDATE "
        "SET hits = hits + excluded.hits, last = max(last, excluded.last)"));
    query.Bind(hits.job).Bind(hits.hits).Bind(hits.last).Run();
    return absl::OkStatus();
  });
}

}  // namespace tiffin::server
