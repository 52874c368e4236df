// The rows: jobs, results, leases, sessions, aliases, the blob index, what uses what. Knows no
// rules: what may follow what is decided in store/. One transaction covers rows and blob locations.
#ifndef TIFFIN_SERVER_JOBS_JOB_DATABASE_H_
#define TIFFIN_SERVER_JOBS_JOB_DATABASE_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/crypto.h"
#include "common/npy.h"

namespace tiffin::server {

using RowId = int64_t;  // 0: none

// Stored as these numbers.
enum class JobState {
  kAbsent = 0,     // nobody computes it and no result is kept
  kLeased = 1,     // a live lease
  kUnfolding = 2,  // a workflow is stored as its result; a lease may be live
  kLinked = 3,     // follows another job
  kDone = 4,       // a value is stored
  kFailed = 5,     // an error is stored
};

// Why a job that once had a result has none. Stored as these numbers.
enum class Tombstone { kNone = 0, kInvalidated = 1, kEvicted = 2, kDamaged = 3 };

struct JobRow {
  RowId id = 0;
  RowId namespace_id = 0;
  Digest key;
  JobState state = JobState::kAbsent;
  int64_t epoch = 0;       // of the last grant; 0: never granted
  int64_t valid_from = 0;  // epochs below were granted before the last Invalidate
  int64_t losses = 0;      // leases lapsed in a row
  // false: a result under the last grant is handed to waiters and not kept
  bool keep = true;
  std::string lost_hosts;  // of those, comma-separated
  RowId link = 0;          // the job it follows, in kLinked
  RowId session = 0;       // that submitted it first
  std::string function;    // its readable name
  std::string version;     // as text; empty: none
  std::string record;      // JSON text, bulk taken out: for InsertJob; read by FindJobRecord alone
  absl::Time created;
  Tombstone tombstone = Tombstone::kNone;
  absl::Time buried;  // when, if there is a tombstone
  // What was read differs from its checksum: nothing of it but `id` can be trusted. Of rows of
  // lists; what looks one job up refuses it (IsDamagedJobRow).
  bool damaged = false;
};

struct LeaseRow {
  RowId job = 0;
  std::string lease_id;  // random token
  int64_t epoch = 0;
  RowId session = 0;       // the holder's
  std::string request_id;  // of the Submit that got it; empty: none
  absl::Duration term;
  absl::Time granted;
};

// Stored as these numbers.
enum class ResultKind { kValue = 1, kError = 2, kWorkflow = 3 };

struct ResultRow {
  RowId job = 0;
  ResultKind kind = ResultKind::kValue;
  std::string record;  // JSON text, bulk taken out
  Digest digest;
  int64_t epoch = 0;  // under which it was stored; 0: without a lease
  RowId session = 0;
  absl::Time stored;
  bool retryable = true;       // of an error
  double compute_seconds = 0;  // as told by the client; 0: not told
  int32_t exit_status = 0;
  std::string log;
  bool damaged = false;  // what was read differs from its checksum: nothing of it can be trusted
};

struct SessionRow {
  RowId id = 0;
  RowId namespace_id = 0;
  std::string token;  // made by the client
  std::string name, user, host, script;
  absl::Time since;
};

struct BlobRow {
  RowId id = 0;
  BlobName name;
  uint64_t size = 0;
  std::string location;   // BlobStore's
  std::string checksums;  // 16 bytes a MiB begun
  absl::Time created;
};

// Stored as these numbers.
enum class BlobUse { kArgument = 1, kResult = 2 };

// Stored as these numbers.
enum class PackState { kPending = 0, kOpen = 1, kSealed = 2 };
struct PackRow {
  std::string name;
  PackState state = PackState::kPending;
};

// What lies in a pack.
struct PackUse {
  std::string pack;
  uint64_t blobs = 0, bytes = 0;
};

struct AliasRow {
  RowId namespace_id = 0;
  std::string profile;
  std::string name;
  RowId job = 0;
  bool damaged = false;  // what was read differs from its checksum
};

// The blob that holds the JSON text of the value of that digest.
struct ValueRow {
  Digest value;
  RowId blob = 0;
  bool damaged = false;  // what was read differs from its checksum
};

// Evidence of nondeterminism: another result for a done job.
struct EvidenceRow {
  RowId job = 0;
  Digest digest;
  RowId session = 0;
  absl::Time at;
};

// How often a job's result was read; approximate, as it is written in batches.
struct HitsRow {
  RowId job = 0;
  int64_t hits = 0;
  absl::Time last;
};

// A stored result and when it was last stored or read.
struct ResultUse {
  RowId job = 0;
  absl::Time used;
};

// Which jobs to list, in the order of their ids.
struct JobRange {
  RowId namespace_id = 0;
  std::string function;  // its readable name; empty: any
  RowId session = 0;     // that submitted them first; 0: any. Not with `function`
  bool newest_first = false;
  RowId after = 0;  // go on behind this one; 0: from the start
};

struct DatabaseCounts {
  int64_t jobs = 0, done = 0, failed = 0, leases = 0, aliases = 0, sessions = 0, blobs = 0,
          namespaces = 0, blob_bytes = 0, evidence = 0;
};

// DATA_LOSS: the row of a job differs from its checksum; others can be read.
absl::Status DamagedJobRow();
// DATA_LOSS: a damaged row whose index no longer tells of it; it goes with a rebuild.
absl::Status DamagedIndexedRow(std::string_view what);
bool IsDamagedJobRow(const absl::Status& status);

// Look-ups. nullopt or empty where there is none; an error means the database could not be read.
class JobReader {
 public:
  virtual ~JobReader() = default;

  virtual absl::StatusOr<RowId> FindNamespace(std::string_view name) = 0;  // 0: none
  // DATA_LOSS (IsDamagedJobRow) if the row differs from its checksum.
  virtual absl::StatusOr<std::optional<JobRow>> FindJob(RowId namespace_id, const Digest& key) = 0;
  virtual absl::StatusOr<std::optional<JobRow>> FindJob(RowId id) = 0;
  virtual absl::StatusOr<std::optional<std::string>> FindJobRecord(RowId job) = 0;
  // Without records, at most `limit`. The same list over more calls, as rows are never deleted.
  virtual absl::StatusOr<std::vector<JobRow>> ListJobs(const JobRange& range, int limit) = 0;
  // Those of all namespaces, in the order of their ids.
  virtual absl::StatusOr<std::vector<JobRow>> ListAllJobs(RowId after, int limit) = 0;
  virtual absl::StatusOr<std::optional<HitsRow>> FindHits(RowId job) = 0;
  virtual absl::StatusOr<std::optional<ResultRow>> FindResult(RowId job) = 0;
  // The value of a done job, in one look: its row says whose it is. nullopt says nothing (FindJob
  // and FindResult tell more). Whoever stores a value says that the job is done, and the other way
  // round.
  virtual absl::StatusOr<std::optional<ResultRow>> FindValueOf(RowId namespace_id,
                                                               const Digest& key) = 0;
  // All results, errors and workflows too, in order of their jobs, after `after`, at most `limit`.
  virtual absl::StatusOr<std::vector<ResultUse>> ListResultUses(RowId after, int limit) = 0;
  virtual absl::StatusOr<std::optional<LeaseRow>> FindLease(RowId job) = 0;
  virtual absl::StatusOr<std::optional<LeaseRow>> FindLeaseById(std::string_view lease_id) = 0;
  virtual absl::StatusOr<std::vector<LeaseRow>> AllLeases() = 0;
  virtual absl::StatusOr<std::vector<RowId>> JobsLinkedTo(RowId job) = 0;
  virtual absl::StatusOr<std::optional<SessionRow>> FindSession(RowId id) = 0;
  virtual absl::StatusOr<std::optional<SessionRow>> FindSession(RowId namespace_id,
                                                                std::string_view token) = 0;
  virtual absl::StatusOr<std::optional<AliasRow>> FindAlias(RowId namespace_id,
                                                            std::string_view profile,
                                                            std::string_view name) = 0;
  virtual absl::StatusOr<std::vector<AliasRow>> AliasesOf(RowId job) = 0;
  // In order of (profile, name), after (after_profile, after_name), at most `limit`. An empty
  // `profile` means all.
  virtual absl::StatusOr<std::vector<AliasRow>> ListAliases(RowId namespace_id,
                                                            std::string_view profile,
                                                            std::string_view after_profile,
                                                            std::string_view after_name,
                                                            int limit) = 0;
  // Those of all namespaces, in the same order, behind `after`.
  virtual absl::StatusOr<std::vector<AliasRow>> ListAllAliases(const AliasRow& after,
                                                               int limit) = 0;

  // By name, whoever may see it.
  virtual absl::StatusOr<std::optional<BlobRow>> FindBlob(const BlobName& name) = 0;
  virtual absl::StatusOr<std::optional<BlobRow>> FindBlob(RowId id) = 0;
  // All blobs of that key that the namespace sees (mostly one).
  virtual absl::StatusOr<std::vector<BlobRow>> FindBlobsByKey(RowId namespace_id,
                                                              const Digest& key) = 0;
  virtual absl::StatusOr<bool> BlobVisible(RowId namespace_id, RowId blob) = 0;
  // The blob that holds the JSON text of the value of that digest. A row that differs from its
  // checksum is none.
  virtual absl::StatusOr<std::optional<BlobRow>> FindValue(const Digest& value) = 0;
  // In the order of their digests, behind `after`, at most `limit`.
  virtual absl::StatusOr<std::vector<ValueRow>> ListValues(const std::optional<Digest>& after,
                                                           int limit) = 0;
  virtual absl::StatusOr<std::vector<BlobRow>> BlobsInPack(std::string_view pack) = 0;
  // Blobs that the namespace sees, in order of their rows, after `after`, at most `limit`.
  virtual absl::StatusOr<std::vector<BlobRow>> ListBlobs(RowId namespace_id, RowId after,
                                                         int limit) = 0;
  // The same of all namespaces.
  virtual absl::StatusOr<std::vector<BlobRow>> ListAllBlobs(RowId after, int limit) = 0;
  // Whether a job uses the blob, or another blob holds a ref to it.
  virtual absl::StatusOr<bool> BlobInUse(RowId blob) = 0;
  // Blobs that are not in use, as ListBlobs.
  virtual absl::StatusOr<std::vector<BlobRow>> UnusedBlobs(RowId after, int limit) = 0;
  // Blobs whose JSON text holds a ref to `inner`; and those that the text in `blob` holds refs to.
  virtual absl::StatusOr<std::vector<RowId>> BlobsHolding(RowId inner) = 0;
  virtual absl::StatusOr<std::vector<RowId>> BlobsHeldBy(RowId blob) = 0;
  // What packs whose names start with `prefix`, which is not empty, hold together. Cheap if it is
  // little.
  virtual absl::StatusOr<PackUse> UseOfPacks(std::string_view prefix) = 0;
  // What each pack that has blobs holds. Looks at every blob.
  virtual absl::StatusOr<std::vector<PackUse>> PackUses() = 0;
  // Jobs of the namespace that use the blob, oldest first, at most `limit`.
  virtual absl::StatusOr<std::vector<RowId>> JobsUsing(RowId namespace_id, RowId blob, BlobUse use,
                                                       int limit) = 0;
  virtual absl::StatusOr<std::vector<RowId>> BlobsUsed(RowId job, BlobUse use) = 0;
  // The same of all namespaces.
  virtual absl::StatusOr<std::vector<RowId>> AllJobsUsing(RowId blob, BlobUse use) = 0;
  virtual absl::StatusOr<std::vector<EvidenceRow>> Evidence(RowId job) = 0;
  // Jobs of all namespaces with evidence, by id, behind `after`, at most `limit`.
  virtual absl::StatusOr<std::vector<RowId>> JobsWithEvidence(RowId after, int limit) = 0;
  virtual absl::StatusOr<std::vector<PackRow>> AllPacks(PackState state) = 0;
  virtual absl::StatusOr<std::optional<PackRow>> FindPack(std::string_view name) = 0;
  // Bytes of the database that hold something: rows, indices, the blob index.
  virtual absl::StatusOr<uint64_t> UsedBytes() = 0;
  // Kept by the writer, not counted on the call. Cheap whatever the size.
  virtual absl::StatusOr<DatabaseCounts> Counts() = 0;
};

// Changes, all in the writer's transaction; look-ups see them. An error from any of these means
// that the operation must return it (its savepoint is rolled back).
class JobTransaction : public JobReader {
 public:
  virtual absl::StatusOr<RowId> EnsureNamespace(std::string_view name) = 0;
  // Inserts the session unless the token is known; returns its id.
  virtual absl::StatusOr<RowId> EnsureSession(const SessionRow& session) = 0;
  virtual absl::StatusOr<RowId> InsertJob(const JobRow& job) = 0;
  // All but id, namespace, key, record and created.
  virtual absl::Status UpdateJob(const JobRow& job) = 0;
  virtual absl::Status PutResult(const ResultRow& result) = 0;  // inserts or replaces
  virtual absl::Status DeleteResult(RowId job) = 0;
  virtual absl::Status PutLease(const LeaseRow& lease) = 0;  // inserts or replaces the job's lease
  virtual absl::Status DeleteLease(RowId job) = 0;
  // The next number of the database's one epoch counter: never given twice, across restarts too.
  virtual absl::StatusOr<int64_t> NextEpoch() = 0;
  virtual absl::Status PutAlias(const AliasRow& alias) = 0;  // inserts or replaces
  virtual absl::Status DeleteAlias(RowId namespace_id, std::string_view profile,
                                   std::string_view name) = 0;
  virtual absl::Status AddEvidence(const EvidenceRow& evidence) = 0;  // the same digest once a job
  virtual absl::Status AddHits(const HitsRow& hits) = 0;  // adds up; the latest `last` stays

  virtual absl::StatusOr<RowId> InsertBlob(const BlobRow& blob) = 0;
  virtual absl::Status MoveBlob(RowId blob, std::string_view location,
                                std::string_view checksums) = 0;
  // makes it visible; repeatable
  virtual absl::Status ShowBlob(RowId namespace_id, RowId blob) = 0;
  // the first stays, if it is sound; repeatable
  virtual absl::Status PutValue(const Digest& value, RowId blob) = 0;
  virtual absl::Status AddUse(RowId job, RowId blob, BlobUse use) = 0;  // repeatable
  virtual absl::Status DropUses(RowId job, BlobUse use) = 0;
  // The JSON text in `blob` holds a ref to `inner`. Repeatable.
  virtual absl::Status AddHold(RowId blob, RowId inner) = 0;
  // With its views, its value and what it holds. The blob is not in use.
  virtual absl::Status DeleteBlob(RowId blob) = 0;
  virtual absl::Status PutPack(const PackRow& pack) = 0;  // inserts or changes the state
  virtual absl::Status DeletePack(std::string_view name) = 0;
};

// One operation for the writer.
struct WriteOp {
  // Runs on the writer's thread inside a transaction, under a savepoint of its own: an error (or an
  // exception) undoes what this operation changed and nothing else. Must not block.
  std::function<absl::Status(JobTransaction&)> apply;
  // Runs on the writer's thread once the fate is durable: OK after COMMIT, or apply's error, also
  // told after COMMIT, as it may come from what others of the transaction did; UNAVAILABLE
  // (RESOURCE_EXHAUSTED when the disk is full) if that failed. In the order of the operations. Must
  // not block.
  std::function<void(absl::Status)> done;
};

// Threads: all methods may be called from any thread.
// Durability: when `done` is called with OK, a power cut does not undo the operation.
class JobDatabase {
 public:
  virtual ~JobDatabase() = default;

  // Queues an operation. What queued while the last transaction synced goes into the next one.
  virtual void Write(WriteOp op) = 0;
  // Waits for it. Must not be called from the writer's thread.
  absl::Status WriteAndWait(std::function<absl::Status(JobTransaction&)> apply);

  // Runs look-ups on a consistent snapshot of what is committed. Never waits for the writer.
  virtual absl::Status Read(const std::function<absl::Status(JobReader&)>& look) = 0;

  // Writes a copy of what is committed now to a new file, while others read and write, and syncs
  // it. `progress` is told bytes so far and of all, and may end it. Returns what the copy's blobs
  // lie in. UNIMPLEMENTED: kept in memory only.
  virtual absl::StatusOr<std::vector<PackUse>> CopyTo(
      const std::filesystem::path& file,
      const std::function<absl::Status(uint64_t bytes, uint64_t total)>& progress) {
    (void)progress;
    return absl::UnimplementedError(
        absl::StrCat("copying to ", file.string(), ": the rows are in memory only"));
  }

  // Finishes what is queued; later Writes are UNAVAILABLE. Repeatable.
  virtual void Close() = 0;

  // Calls back, on the writer's thread, when the database can no longer be trusted to be durable (a
  // failed sync): the server must exit.
  virtual void OnFatal(std::function<void(absl::Status)> callback) = 0;

  // Bytes on disk of rows and log.
  virtual uint64_t DiskBytes() const = 0;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_JOB_DATABASE_H_
