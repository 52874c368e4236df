#include "server/jobs/sqlite_rows.h"

#include <sqlite3.h>

#include <bit>

#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/checksum.h"

namespace tiffin::server {
namespace {

template <typename Row>
bool Differs(int64_t checksum, const Row& row) {
  return checksum != 0 && checksum != ChecksumOf(row);
}

}  // namespace

int64_t ChecksumOf(const JobRow& row) {
  Checksum64 sum;
  sum.Add(row.namespace_id).Add(row.key.view()).Add(static_cast<int64_t>(row.state));
  sum.Add(row.epoch).Add(row.valid_from).Add(row.losses).Add(row.lost_hosts).Add(row.link);
  sum.Add(row.session).Add(row.function).Add(row.version).Add(absl::ToUnixMicros(row.created));
  sum.Add(static_cast<int64_t>(row.tombstone)).Add(absl::ToUnixMicros(row.buried));
  if (!row.keep) sum.Add(int64_t{1});  // rows of the second schema had no such column
  return sum.Finish();
}

int64_t ChecksumOf(const ResultRow& row) {
  Checksum64 sum;
  sum.Add(row.job).Add(static_cast<int64_t>(row.kind)).Add(row.record).Add(row.digest.view());
  sum.Add(row.epoch).Add(row.session).Add(absl::ToUnixMicros(row.stored));
  sum.Add(int64_t{row.retryable}).Add(std::bit_cast<int64_t>(row.compute_seconds));
  sum.Add(int64_t{row.exit_status}).Add(row.log);
  return sum.Finish();
}

int64_t JobChecksumOf(int64_t checksum, RowId namespace_id, const Digest& key) {
  return Checksum64().Add(checksum).Add(namespace_id).Add(key.view()).Finish();
}

bool IsResultOf(const Query& query, RowId namespace_id, const Digest& key) {
  const int64_t stored = query.Int(12);  // 0: of an earlier schema
  return stored != 0 && stored == JobChecksumOf(query.Int(11), namespace_id, key);
}

int64_t ChecksumOf(const AliasRow& row) {
  return Checksum64().Add(row.namespace_id).Add(row.profile).Add(row.name).Add(row.job).Finish();
}

int64_t ChecksumOf(const ValueRow& row) {
  return Checksum64().Add(row.value.view()).Add(row.blob).Finish();
}

JobRow ReadJob(const Query& query) {
  JobRow row;
  row.id = query.Int(0);
  row.namespace_id = query.Int(1);
  row.key = query.Hash(2);
  row.state = static_cast<JobState>(query.Int(3));
  row.epoch = query.Int(4);
  row.valid_from = query.Int(5);
  row.losses = query.Int(6);
  row.lost_hosts = query.Text(7);
  row.link = query.Int(8);
  row.session = query.Int(9);
  row.function = query.Text(10);
  row.version = query.Text(11);
  row.created = query.Time(12);
  row.tombstone = static_cast<Tombstone>(query.Int(13));
  row.buried = query.Time(14);
  row.keep = query.Int(15) != 0;
  row.damaged = Differs(query.Int(16), row);
  return row;
}

LeaseRow ReadLease(const Query& query) {
  LeaseRow row;
  row.job = query.Int(0);
  row.lease_id = query.Text(1);
  row.epoch = query.Int(2);
  row.session = query.Int(3);
  row.request_id = query.Text(4);
  row.term = query.Span(5);
  row.granted = query.Time(6);
  return row;
}

ResultRow ReadResult(const Query& query) {
  ResultRow row;
  row.job = query.Int(0);
  row.kind = static_cast<ResultKind>(query.Int(1));
  row.record = query.Text(2);
  row.digest = query.Hash(3);
  row.epoch = query.Int(4);
  row.session = query.Int(5);
  row.stored = query.Time(6);
  row.retryable = query.Int(7) != 0;
  row.compute_seconds = query.Double(8);
  row.exit_status = static_cast<int32_t>(query.Int(9));
  row.log = query.Text(10);
  row.damaged = Differs(query.Int(11), row);
  return row;
}

SessionRow ReadSession(const Query& query) {
  SessionRow row;
  row.id = query.Int(0);
  row.namespace_id = query.Int(1);
  row.token = query.Text(2);
  row.name = query.Text(3);
  row.user = query.Text(4);
  row.host = query.Text(5);
  row.script = query.Text(6);
  row.since = query.Time(7);
  return row;
}

BlobRow ReadBlob(const Query& query) {
  BlobRow row;
  row.id = query.Int(0);
  row.name.key = query.Hash(1);
  row.name.dtype = query.Text(2);
  row.name.shape = ParseShape(query.Text(3));
  row.size = static_cast<uint64_t>(query.Int(4));
  row.location = query.Text(5);
  row.checksums = query.Text(6);
  row.created = query.Time(7);
  return row;
}

AliasRow ReadAlias(const Query& query) {
  AliasRow row{.namespace_id = query.Int(0),
               .profile = query.Text(1),
               .name = query.Text(2),
               .job = query.Int(3)};
  row.damaged = Differs(query.Int(4), row);
  return row;
}

ValueRow ReadValue(const Query& query) {
  ValueRow row{.value = query.Hash(0), .blob = query.Int(1)};
  row.damaged = Differs(query.Int(2), row);
  return row;
}

std::string ShapeText(const Shape& shape) { return absl::StrJoin(shape, ","); }

Shape ParseShape(const std::string& text) {
  Shape shape;
  if (text.empty()) return shape;
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    uint64_t dimension = 0;
    if (!absl::SimpleAtoi(part, &dimension)) {
      throw SQLite::Exception("a shape is not a list of numbers", SQLITE_CORRUPT);
    }
    shape.push_back(dimension);
  }
  return shape;
}

}  // namespace tiffin::server
