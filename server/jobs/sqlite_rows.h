// Private to this folder: rows of the tables as the structs of job_database.h. Each Read… takes the
// current row of a statement that selects the columns named beside it, in that order.
#ifndef TIFFIN_SERVER_JOBS_SQLITE_ROWS_H_
#define TIFFIN_SERVER_JOBS_SQLITE_ROWS_H_

#include <string>

#include "server/jobs/job_database.h"
#include "server/jobs/sqlite_connection.h"

namespace tiffin::server {

#define TIFFIN_SELECT_JOB                                                     \
  "SELECT id, namespace, key, state, epoch, valid_from, losses, lost_hosts, " \
  "link, session, function, version, created, tombstone, buried, keep, checksum FROM jobs "
JobRow ReadJob(const Query& query);
// Of all but `id`, which a new row does not have yet, and `record`.
int64_t ChecksumOf(const JobRow& row);

#define TIFFIN_SELECT_LEASE \
  "SELECT job, lease_id, epoch, session, request_id, term, granted FROM leases "
LeaseRow ReadLease(const Query& query);

#define TIFFIN_SELECT_RESULT                                              \
  "SELECT job, kind, record, digest, epoch, session, stored, retryable, " \
  "compute_seconds, exit_status, log, checksum, job_checksum FROM results "
ResultRow ReadResult(const Query& query);
int64_t ChecksumOf(const ResultRow& row);
// Of a result's checksum and whose it is.
int64_t JobChecksumOf(int64_t checksum, RowId namespace_id, const Digest& key);
// Whether the current row, which was read with TIFFIN_SELECT_RESULT, says that it is that job's.
bool IsResultOf(const Query& query, RowId namespace_id, const Digest& key);

#define TIFFIN_SELECT_SESSION \
  "SELECT id, namespace, token, name, user, host, script, since FROM sessions "
SessionRow ReadSession(const Query& query);

#define TIFFIN_BLOB_COLUMNS \
  "b.id, b.key, b.dtype, b.shape, b.size, b.location, b.checksums, b.created "
BlobRow ReadBlob(const Query& query);

#define TIFFIN_SELECT_ALIAS "SELECT namespace, profile, name, job, checksum FROM aliases "
AliasRow ReadAlias(const Query& query);
int64_t ChecksumOf(const AliasRow& row);

#define TIFFIN_SELECT_VALUE "SELECT value, blob, checksum FROM value_digests "
ValueRow ReadValue(const Query& query);
int64_t ChecksumOf(const ValueRow& row);

// Stored: dimensions in decimal with commas between; empty for a scalar.
std::string ShapeText(const Shape& shape);
// Throws SQLite::Exception (SQLITE_CORRUPT).
Shape ParseShape(const std::string& text);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_SQLITE_ROWS_H_
