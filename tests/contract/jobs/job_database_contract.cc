#include "tests/contract/jobs/job_database_contract.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tiffin::server {
namespace {

absl::Time TestTime(uint64_t n) {
  return absl::FromUnixMicros(1'700'000'000'000'000 + static_cast<int64_t>(n));
}

std::string Hex(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) {
    absl::StrAppend(&text, absl::Hex(static_cast<uint8_t>(c), absl::kZeroPad2));
  }
  return text;
}
std::string Hex(const Digest& digest) { return Hex(digest.view()); }

}  // namespace

Digest TestDigest(uint64_t n) {
  Digest digest;
  std::memcpy(digest.bytes.data(), &n, sizeof n);
  digest.bytes[31] = 1;
  return digest;
}

JobRow TestJob(RowId namespace_id, uint64_t n) {
  JobRow row;
  row.namespace_id = namespace_id;
  row.key = TestDigest(n);
  row.state = JobState::kLeased;
  row.epoch = static_cast<int64_t>(n) + 1;
  row.valid_from = static_cast<int64_t>(n) + 2;
  row.losses = 2;
  row.lost_hosts = absl::StrCat("host", n, ",other");
  row.session = 3;
  row.function = absl::StrCat("module.function", n);
  row.version = absl::StrCat("v", n);
  row.record = absl::StrCat("{\"job\": ", n, "}");
  row.created = TestTime(n);
  row.tombstone = static_cast<Tombstone>(n % 4);
  row.buried = TestTime(n + 9);
  row.keep = n % 2 == 1;
  return row;
}

SessionRow TestSession(RowId namespace_id, uint64_t n) {
  SessionRow row;
  row.namespace_id = namespace_id;
  row.token = absl::StrCat("token", n);
  row.name = absl::StrCat("name", n);
  row.user = absl::StrCat("user", n);
  row.host = absl::StrCat("host", n);
  row.script = absl::StrCat("script", n);
  row.since = TestTime(n);
  return row;
}

LeaseRow TestLease(RowId job, uint64_t n) {
  LeaseRow row;
  row.job = job;
  row.lease_id = absl::StrCat("lease", n);
  row.epoch = static_cast<int64_t>(n) + 5;
  row.session = 4;
  row.request_id = absl::StrCat("request", n);
  row.term = absl::Milliseconds(30'000 + static_cast<int64_t>(n));
  row.granted = TestTime(n);
  return row;
}

ResultRow TestResult(RowId job, uint64_t n) {
  ResultRow row;
  row.job = job;
  row.kind = static_cast<ResultKind>(n % 3 + 1);
  row.record = absl::StrCat("[", n, "]");
  row.digest = TestDigest(n + 1000);
  row.epoch = static_cast<int64_t>(n);
  row.session = 6;
  row.stored = TestTime(n);
  row.retryable = n % 2 == 1;
  row.compute_seconds = 0.25 * static_cast<double>(n);
  row.exit_status = -static_cast<int32_t>(n);
  row.log = absl::StrCat("log of ", n);
  return row;
}

BlobRow TestBlob(uint64_t n, const std::string& pack) {
  BlobRow row;
  row.name = {.key = TestDigest(n), .dtype = "int64", .shape = {n, 3}};
  row.size = n * 24;
  row.location = absl::StrCat(pack, ":", n, ":x");
  row.checksums = std::string(16, static_cast<char>(n));
  row.created = TestTime(n);
  return row;
}

std::string Text(const JobRow& row) {
  return absl::StrCat("job ", row.id, " ", row.namespace_id, " ", Hex(row.key), " ",
                      static_cast<int>(row.state), " ", row.epoch, " ", row.valid_from, " ",
                      row.losses, " '", row.lost_hosts, "' ", row.link, " ", row.session) +
         absl::StrCat(" '", row.function, "' '", row.version, "' ", absl::ToUnixNanos(row.created),
                      " ", static_cast<int>(row.tombstone), " ", absl::ToUnixNanos(row.buried), " ",
                      row.keep);
}

std::string Text(const HitsRow& row) {
  return absl::StrCat("hits ", row.job, " ", row.hits, " ", absl::ToUnixNanos(row.last));
}

std::string Text(const SessionRow& row) {
  return absl::StrCat("session ", row.id, " ", row.namespace_id, " '", row.token, "' '", row.name,
                      "' '", row.user, "' '", row.host, "' '", row.script, "' ",
                      absl::ToUnixNanos(row.since));
}

std::string Text(const LeaseRow& row) {
  return absl::StrCat("lease ", row.job, " '", row.lease_id, "' ", row.epoch, " ", row.session,
                      " '", row.request_id, "' ", absl::ToInt64Nanoseconds(row.term), " ",
                      absl::ToUnixNanos(row.granted));
}

std::string Text(const ResultRow& row) {
  return absl::StrCat("result ", row.job, " ", static_cast<int>(row.kind), " '", row.record, "' ",
                      Hex(row.digest), " ", row.epoch, " ", row.session, " ") +
         absl::StrCat(absl::ToUnixNanos(row.stored), " ", row.retryable, " ", row.compute_seconds,
                      " ", row.exit_status, " '", row.log, "'");
}

std::string Text(const BlobRow& row) {
  return absl::StrCat("blob ", row.id, " ", Hex(row.name.key), " ", row.name.dtype, " [",
                      absl::StrJoin(row.name.shape, ","), "] ", row.size, " '", row.location,
                      "' ") +
         absl::StrCat(Hex(row.checksums), " ", absl::ToUnixNanos(row.created));
}

std::string Text(const AliasRow& row) {
  return absl::StrCat("alias ", row.namespace_id, " '", row.profile, "' '", row.name, "' ",
                      row.job);
}

std::string Text(const EvidenceRow& row) {
  return absl::StrCat("evidence ", row.job, " ", Hex(row.digest), " ", row.session, " ",
                      absl::ToUnixNanos(row.at));
}

std::string Text(const PackRow& row) {
  return absl::StrCat("pack '", row.name, "' ", static_cast<int>(row.state));
}

std::string Text(const DatabaseCounts& counts) {
  return absl::StrCat("jobs ", counts.jobs, " done ", counts.done, " failed ", counts.failed,
                      " leases ", counts.leases, " aliases ", counts.aliases) +
         absl::StrCat(" sessions ", counts.sessions, " blobs ", counts.blobs, " namespaces ",
                      counts.namespaces, " bytes ", counts.blob_bytes, " evidence ",
                      counts.evidence);
}

HeldWriter::HeldWriter(JobDatabase& database) {
  database.Write({.apply =
                      [inside = inside_, leave = leave_](JobTransaction&) {
                        inside->Open();
                        leave->Wait();
                        return absl::OkStatus();
                      },
                  .done = [](const absl::Status&) {}});
  inside_->Wait();
}

void HeldWriter::Release() {
  if (!released_) leave_->Open();
  released_ = true;
}

std::future<absl::Status> WriteLater(JobDatabase& database,
                                     std::function<absl::Status(JobTransaction&)> apply) {
  auto fate = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> later = fate->get_future();
  database.Write({.apply = std::move(apply),
                  .done = [fate](absl::Status status) { fate->set_value(std::move(status)); }});
  return later;
}

}  // namespace tiffin::server
