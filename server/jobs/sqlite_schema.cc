#include "server/jobs/sqlite_schema.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "common/status.h"

namespace tiffin::server {
namespace {

// Rows are appended by integer key; a hash has one narrow index. Times are microseconds since the
// epoch (UTC). 0 stands for no row, so columns that may be 0 have no foreign key.
constexpr Migration kMigrations[] = {{R"sql(
CREATE TABLE namespaces (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE sessions (
  id INTEGER PRIMARY KEY,
  namespace INTEGER NOT NULL REFERENCES namespaces,
  token TEXT NOT NULL,
  name TEXT NOT NULL,
  user TEXT NOT NULL,
  host TEXT NOT NULL,
  script TEXT NOT NULL,
  since INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX session_token ON sessions (token, namespace);

CREATE TABLE jobs (
  id INTEGER PRIMARY KEY,
  namespace INTEGER NOT NULL REFERENCES namespaces,
  key BLOB NOT NULL CHECK (length(key) = 32),
  state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 5),
  epoch INTEGER NOT NULL,
  valid_from INTEGER NOT NULL,
  losses INTEGER NOT NULL,
  link INTEGER NOT NULL,
  session INTEGER NOT NULL,
  created INTEGER NOT NULL,
  lost_hosts TEXT NOT NULL,
  function TEXT NOT NULL,
  version TEXT NOT NULL,
  tombstone INTEGER NOT NULL CHECK (tombstone BETWEEN 0 AND 3),
  buried INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX job_key ON jobs (key, namespace);
-- For lists, in the order of ids; within each of their values they are appended to.
CREATE INDEX job_namespace ON jobs (namespace);
CREATE INDEX job_function ON jobs (namespace, function);
CREATE INDEX job_session ON jobs (session);
CREATE INDEX job_link ON jobs (link) WHERE link != 0;

-- Apart from jobs: a change of state would otherwise write the record again, up to 16 MiB.
CREATE TABLE job_records (
  job INTEGER PRIMARY KEY REFERENCES jobs,
  record TEXT NOT NULL
) STRICT;

-- Apart from jobs for the same reason; written in batches.
CREATE TABLE hits (
  job INTEGER PRIMARY KEY REFERENCES jobs,
  hits INTEGER NOT NULL,
  last INTEGER NOT NULL
) STRICT;

CREATE TABLE leases (
  job INTEGER PRIMARY KEY REFERENCES jobs,
  lease_id TEXT NOT NULL UNIQUE,
  epoch INTEGER NOT NULL,
  session INTEGER NOT NULL,
  request_id TEXT NOT NULL,
  term INTEGER NOT NULL,
  granted INTEGER NOT NULL,
  keep INTEGER NOT NULL
) STRICT;

CREATE TABLE results (
  job INTEGER PRIMARY KEY REFERENCES jobs,
  kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  epoch INTEGER NOT NULL,
  session INTEGER NOT NULL,
  stored INTEGER NOT NULL,
  retryable INTEGER NOT NULL,
  compute_seconds REAL NOT NULL,
  exit_status INTEGER NOT NULL,
  log TEXT NOT NULL,
  record TEXT NOT NULL
) STRICT;

CREATE TABLE aliases (
  namespace INTEGER NOT NULL REFERENCES namespaces,
  profile TEXT NOT NULL,
  name TEXT NOT NULL,
  job INTEGER NOT NULL REFERENCES jobs,
  PRIMARY KEY (namespace, profile, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX alias_job ON aliases (job);

CREATE TABLE evidence (
  job INTEGER NOT NULL REFERENCES jobs,
  digest BLOB NOT NULL CHECK (length(digest) = 32),
  session INTEGER NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (job, digest)
) STRICT, WITHOUT ROWID;

-- (key, dtype, shape) is unique; the writer sees to it, so that the index need not hold all three.
-- `shape`: dimensions with commas between. `pack`: location up to the first ':'.
CREATE TABLE blobs (
  id INTEGER PRIMARY KEY,
  key BLOB NOT NULL CHECK (length(key) = 32),
  dtype TEXT NOT NULL,
  shape TEXT NOT NULL,
  size INTEGER NOT NULL,
  created INTEGER NOT NULL,
  location TEXT NOT NULL,
  checksums BLOB NOT NULL,
  pack TEXT NOT NULL AS (substr(location, 1, instr(location || ':', ':') - 1)) VIRTUAL
) STRICT;
CREATE INDEX blob_key ON blobs (key);
CREATE INDEX blob_pack ON blobs (pack);

-- Which namespaces see a blob.
CREATE TABLE blob_views (
  blob INTEGER NOT NULL REFERENCES blobs,
  namespace INTEGER NOT NULL REFERENCES namespaces,
  PRIMARY KEY (blob, namespace)
) STRICT, WITHOUT ROWID;

-- SHA-256 of E(body) to the blob that holds its JSON text (refs of the second form).
CREATE TABLE value_digests (
  value BLOB PRIMARY KEY CHECK (length(value) = 32),
  blob INTEGER NOT NULL REFERENCES blobs
) STRICT, WITHOUT ROWID;
CREATE INDEX value_blob ON value_digests (blob);

CREATE TABLE uses (
  job INTEGER NOT NULL REFERENCES jobs,
  use INTEGER NOT NULL CHECK (use BETWEEN 1 AND 2),
  blob INTEGER NOT NULL REFERENCES blobs,
  PRIMARY KEY (job, use, blob)
) STRICT, WITHOUT ROWID;
CREATE INDEX use_blob ON uses (blob, use, job);

-- Refs inside the JSON text of a value: `blob` is that text.
CREATE TABLE holds (
  blob INTEGER NOT NULL REFERENCES blobs,
  inner INTEGER NOT NULL REFERENCES blobs,
  PRIMARY KEY (blob, inner)
) STRICT, WITHOUT ROWID;
CREATE INDEX hold_inner ON holds (inner);

CREATE TABLE packs (
  name TEXT PRIMARY KEY,
  state INTEGER NOT NULL CHECK (state BETWEEN 0 AND 2)
) STRICT, WITHOUT ROWID;
CREATE INDEX pack_state ON packs (state);

-- One row, written once a transaction.
CREATE TABLE counters (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  epoch INTEGER NOT NULL,
  jobs INTEGER NOT NULL,
  done INTEGER NOT NULL,
  failed INTEGER NOT NULL,
  leases INTEGER NOT NULL,
  aliases INTEGER NOT NULL,
  sessions INTEGER NOT NULL,
  blobs INTEGER NOT NULL,
  namespaces INTEGER NOT NULL,
  blob_bytes INTEGER NOT NULL,
  evidence INTEGER NOT NULL
) STRICT;
INSERT INTO counters VALUES (1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
)sql"},
                                     {R"sql(
-- XXH3-64 of the row's other columns; 0: written before there were any.
ALTER TABLE jobs ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE results ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
)sql"},
                                     {R"sql(
-- Whether a result is kept is said of the job: it is asked when the lease is over, too.
ALTER TABLE jobs ADD COLUMN keep INTEGER NOT NULL DEFAULT 1;
UPDATE jobs SET keep = 0, checksum = 0 WHERE id IN (SELECT job FROM leases WHERE keep = 0);
ALTER TABLE leases DROP COLUMN keep;
ALTER TABLE aliases ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
ALTER TABLE value_digests ADD COLUMN checksum INTEGER NOT NULL DEFAULT 0;
)sql"},
                                     {R"sql(
-- XXH3-64 of `checksum` and the job's namespace and key, so that a value is known to be a job's without its row;
-- 0: written before there was any.
ALTER TABLE results ADD COLUMN job_checksum INTEGER NOT NULL DEFAULT 0;
)sql"}};

int64_t Number(SqliteConnection& connection, const char* sql) {
  return connection.database().execAndGet(sql).getInt64();
}

// One step: all of it, its number and the application's, or nothing.
absl::Status MigrateTo(SqliteConnection& writer, int version, const Migration& migration) {
  absl::Status status = writer.Guard(absl::StrCat("migrating to schema ", version), [&] {
    SQLite::Database& database = writer.database();
    database.exec("BEGIN IMMEDIATE");
    database.exec(migration.sql);
    database.exec(absl::StrCat("PRAGMA application_id = ", kSqliteApplicationId));
    database.exec(absl::StrCat("PRAGMA user_version = ", version));
    database.exec("COMMIT");
    return absl::OkStatus();
  });
  if (writer.InTransaction()) writer.database().tryExec("ROLLBACK");
  return status;
}

}  // namespace

std::span<const Migration> Migrations() { return kMigrations; }

absl::Status CheckIdentity(SqliteConnection& writer, int newest) {
  return writer.Guard("reading the schema's version", [&]() -> absl::Status {
    const int64_t application = Number(writer, "PRAGMA application_id");
    const int64_t version = Number(writer, "PRAGMA user_version");
    const bool empty = Number(writer, "SELECT count(*) FROM sqlite_schema") == 0;
    if (application == 0 && version == 0 && empty) return absl::OkStatus();
    if (application != kSqliteApplicationId) {
      return absl::FailedPreconditionError("this SQLite file is not a database of tiffin");
    }
    if (version > newest) {
      return absl::FailedPreconditionError(
          absl::StrCat("made by a newer tiffin: its schema is version ", version,
                       ", this program knows versions up to ", newest));
    }
    return absl::OkStatus();
  });
}

absl::Status Migrate(SqliteConnection& writer, std::span<const Migration> migrations) {
  const int newest = static_cast<int>(migrations.size());
  TIFFIN_RETURN_IF_ERROR(CheckIdentity(writer, newest));
  int version = 0;
  TIFFIN_RETURN_IF_ERROR(writer.Guard("reading the schema's version", [&] {
    version = static_cast<int>(Number(writer, "PRAGMA user_version"));
    return absl::OkStatus();
  }));
  while (version < newest) {
    const Migration& next = migrations[static_cast<size_t>(version)];
    TIFFIN_RETURN_IF_ERROR(MigrateTo(writer, ++version, next));
  }
  return absl::OkStatus();
}

}  // namespace tiffin::server
