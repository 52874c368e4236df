// The jobs of all namespaces: applies the rules of a job's life (job_life.h) to the rows of
// JobDatabase, and tells those who wait.
#ifndef TIFFIN_SERVER_STORE_JOB_STORE_H_
#define TIFFIN_SERVER_STORE_JOB_STORE_H_

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "common/job.h"
#include "server/jobs/job_database.h"
#include "server/store/answers.h"
#include "server/store/blob_catalogue.h"
#include "server/store/clock.h"
#include "server/store/hit_counter.h"
#include "server/store/job_views.h"
#include "server/store/lease_table.h"
#include "server/store/record_gate.h"
#include "server/store/result_cache.h"
#include "server/store/waiters.h"

namespace tiffin::server {

struct AliasKey {
  std::string profile, name;
};
using JobAddress = std::variant<Digest, AliasKey>;

struct AwaitItem {
  uint64_t index = 0;
  JobAddress job;
  int64_t after_epoch = 0;
};

// A job that came in: parsed, its key computed.
struct PreparedJob {
  JobRow row;
  Value value;  // until its bulk is taken out
  TakenIn in;   // from then on
};

// Calls a function for each number below n, maybe from several threads.
using ParallelFor = std::function<void(size_t n, const std::function<void(size_t)>& work)>;

// Since the start of the process.
struct JobCounters {
  std::atomic<uint64_t> submits{0}, retrieved{0}, granted{0}, attached{0}, stored{0}, lapsed{0};
  std::atomic<uint64_t> damaged{0};  // results found to differ from their checksums
};

// Threads: all methods may be called from any thread but the writer's; they block until what they
// answer is durable. Those with a `done` do not: it is called on the writer's thread, or on the
// caller's or `blocking`'s if they got no further, and must not block. Reads never wait for the
// writer.
class JobStore {
 public:
  struct Options {
    Limits limits;
    bool allow_unversioned_main = false;
    // A lease held so long without progress lapses however often it is renewed.
    absl::Duration max_hold = absl::Hours(24);
    size_t cache_bytes = 64 << 20;  // of results read last
  };
  // All outlive the store.
  JobStore(JobDatabase* database, BlobCatalogue* blobs, Clock* clock, Options options);
  ~JobStore();

  // Gives every stored lease a full term and begins to watch them.
  absl::Status Start();
  void Stop();

  absl::StatusOr<PreparedJob> Prepare(std::string_view job_json);
  // Submit, first step: the stored result, which no write is waited for; else nullopt.
  absl::StatusOr<std::optional<SubmitAnswer>> SubmitHit(const CallerInfo& caller,
                                                        const PreparedJob& job);
  // Second step. Runs a function where it may wait for the disk; called for bulk, before the answer
  // and after it.
  using Blocking = std::function<void(std::function<void()>)>;
  using SubmitDone = std::function<void(absl::StatusOr<SubmitAnswer>)>;
  void SubmitMiss(const CallerInfo& caller, PreparedJob job, const SubmitOptions& options,
                  const Blocking& blocking, SubmitDone done);
  // Each job its own answer, in order. `first` is the place of the first one in its batch: with the
  // caller's request id it names each job's Submit. At most `*grants` leases are granted, and taken
  // off it. Others get their turn between parts of a large batch. `for_each` takes the bulk out of
  // jobs.
  std::vector<absl::StatusOr<SubmitAnswer>> SubmitMany(
      const CallerInfo& caller, std::vector<absl::StatusOr<PreparedJob>> jobs, uint64_t first,
      const SubmitOptions& options, std::optional<uint64_t>* grants, const ParallelFor& for_each);

  // Found in memory, or nullptr: never blocks.
  std::shared_ptr<const FoundResult> FindHot(std::string_view name_space, const Digest& key);
  using Found = absl::StatusOr<std::shared_ptr<const FoundResult>>;
  // NOT_FOUND: none; the message says why.
  Found GetResult(std::string_view name_space, const JobAddress& address);
  // On one snapshot. Answers the first of them, as many as it takes to have `max_bytes` of records.
  std::vector<Found> GetResults(std::string_view name_space, std::span<const JobAddress> addresses,
                                size_t max_bytes = SIZE_MAX);

  // On FAILED_PRECONDITION for absent blobs, the answer's `missing` lists them.
  using StoreDone = std::function<void(const absl::Status&, const StoreAnswer&)>;
  void StoreResult(const CallerInfo& caller, StoreRequest request, const Blocking& blocking,
                   StoreDone done);
  std::vector<Renewal> Renew(std::span<const std::string> leases, bool progress = false) {
    return leases_.Renew(leases, progress);
  }
  // How many of the leases were live.
  absl::StatusOr<size_t> Release(std::vector<std::string> leases);
  // The same by job, whoever holds it.
  absl::StatusOr<size_t> ForceRelease(std::string_view name_space, std::vector<Digest> keys);
  absl::Status Link(const CallerInfo& caller, const Digest& key, std::string_view lease_id,
                    const Digest& target);
  // Takes back what the jobs have (see Withdraw of job_life.h); how many had something. In parts:
  // after an error some are done, and it may be repeated.
  absl::StatusOr<size_t> Withdraw(std::vector<RowId> jobs, Tombstone why);
  void WithdrawDamaged(RowId blob);
  // The stored result differs from its checksum: it is taken back, before any operation that comes
  // later. May be called from any thread, the writer's too. `done` is told on the writer's.
  void WithdrawDamagedResult(RowId job, std::function<void(const absl::Status&)> done = nullptr);
  // Evicts results in this order (evictor.h), in one transaction: those that may be, until blobs
  // and database would be below `max_bytes`. Nothing is told of jobs that changed meanwhile.
  struct Evicted {
    uint64_t results = 0;
    bool enough = false;
  };
  absl::StatusOr<Evicted> Evict(std::span<const RowId> jobs, uint64_t max_bytes);
  // Waits until the hits counted so far are written.
  absl::Status FlushHits();

  absl::Status SetAlias(const CallerInfo& caller, const AliasKey& alias, const Digest& key,
                        bool replace);
  absl::Status DeleteAlias(std::string_view name_space, const AliasKey& alias);
  struct AliasEntry {
    AliasKey alias;
    Digest key;
  };
  struct AliasPage {
    std::vector<AliasEntry> aliases;  // fewer than `limit` where rows are damaged
    AliasKey next;                    // go on behind this one; empty: there are no more
  };
  absl::StatusOr<AliasPage> ListAliases(std::string_view name_space, std::string_view profile,
                                        const AliasKey& after, int limit);

  Waiters::SessionId OpenAwait(AwaitSession session) { return waiters_.Open(std::move(session)); }
  // The state of each job now, then what changes, as `tell` of the session is told.
  void Await(Waiters::SessionId session, const CallerInfo& caller, std::vector<AwaitItem> items);
  void AddCapacity(Waiters::SessionId session, uint64_t leases);
  void CloseAwait(Waiters::SessionId session) { waiters_.Close(session); }
  size_t WaitingFor(RowId namespace_id, const Digest& key) {
    return waiters_.WaitingFor({namespace_id, key});
  }
  std::vector<WaiterInfo> WhoWaitsFor(RowId namespace_id, const Digest& key, size_t most) {
    return waiters_.WhoWaitsFor({namespace_id, key}, most);
  }

  // The record with its bulk inline, for a caller of that namespace.
  absl::StatusOr<std::string> Inline(std::string_view name_space, std::string_view json);
  absl::StatusOr<DatabaseCounts> Counts();
  // Hits of the job that are not written yet.
  std::optional<HitsRow> RecentHits(RowId job) { return hits_.Find(job); }

  const Limits& limits() const { return options_.limits; }
  const JobCounters& counters() const { return counters_; }
  size_t waiting() { return waiters_.waiting(); }

 private:
  // Damaged results that one operation may come upon.
  static constexpr int kMostDamaged = 256;

  // What to do after COMMIT, gathered while the transaction runs.
  struct Effects;
  struct Facts;
  using Apply = std::function<absl::Status(JobTransaction&, Effects&)>;
  using Done = std::function<void(const absl::Status&)>;
  // Runs `apply` on the writer and its effects after COMMIT, then `done`. It is run again after a
  // result that it found damaged was taken back, at most so many times.
  void Change(Apply apply, Done done, int damaged_left = kMostDamaged);
  // The same, and waits.
  absl::Status Change(Apply apply);
  absl::Status WithdrawIn(JobTransaction& tx, Effects& effects, RowId job, Tombstone why,
                          int64_t now, bool* withdrawn);
  // Once, whatever it finds.
  void ChangeOnce(Apply apply, Done done = nullptr);

  // Writes an accepted transition and gathers what follows. A job of id 0 is inserted.
  absl::Status ApplyIn(JobTransaction& tx, Effects& effects, JobInHand& job, const Transition& t,
                       const Facts& facts);
  absl::Status TellIn(JobTransaction& tx, Effects& effects, const JobInHand& job,
                      const Transition& t, const Facts& facts);
  // Tells all who wait for the job, and for jobs that follow it, how it ended.
  absl::Status TellEnding(JobTransaction& tx, Effects& effects, const JobRow& job,
                          const StoredResult& result, WaitEvent::Kind kind, bool is_stored);
  absl::Status DropCached(JobTransaction& tx, Effects& effects, const JobRow& before,
                          const Transition& t);

  absl::Status TakeJobIn(PreparedJob* job);
  absl::Status MakeJobDurable(PreparedJob* job);
  static void LetGo(std::vector<NewBlob> blobs, const Blocking& blocking);
  static SubmitAnswer Retrieved(const FoundResult& found, bool with_result);
  struct Miss {
    PreparedJob* job;
    std::string request_id;
    SubmitAnswer* answer;
    size_t place = 0;  // in its batch
  };
  // One operation of the writer, which leaves in `grants` what is left, and what its answers mean
  // once its fate is known. What `part`, `grants` and `bytes` point to must last until then.
  // `bytes`: of results that the batch was told, against the limit of a reply; nullptr: there is no
  // limit.
  Apply SubmitPart(const CallerInfo& caller, const SubmitOptions& options,
                   std::span<const Miss> part, std::optional<uint64_t>* grants, size_t* bytes);
  void PartEnded(const absl::Status& status, std::span<const Miss> part);
  struct SubmitContext;
  absl::Status SubmitIn(JobTransaction& tx, Effects& effects, const SubmitContext& context,
                        const PreparedJob& prepared, const std::string& request_id,
                        bool can_compute, SubmitAnswer* answer);
  absl::Status EnterArguments(JobTransaction& tx, const JobRow& job, const TakenIn& in,
                              Missing* missing);
  // With the rows of `job` written. `keep`: what is stored under the lease.
  absl::Status GrantIn(JobTransaction& tx, Effects& effects, JobInHand& job, const Life& end,
                       LeaseRow lease, bool keep, std::optional<StoredResult>* workflow);
  LeaseRow MakeLease(RowId session, absl::Duration term, const std::string& request_id);

  struct Storing;
  absl::Status PrepareStore(Storing& store);
  absl::Status MakeStoreDurable(Storing& store);
  absl::Status StoreIn(JobTransaction& tx, Effects& effects, Storing& store);
  absl::StatusOr<JobInHand> JobToStore(JobTransaction& tx, RowId ns, RowId session,
                                       const StoreRequest& request,
                                       const std::optional<PreparedJob>& fresh);
  absl::Status LapseIn(JobTransaction& tx, Effects& effects, RowId job, const std::string& lease);
  absl::Status ReleaseIn(JobTransaction& tx, Effects& effects, RowId job, size_t* released);

  absl::Status LookIn(JobTransaction& tx, Effects& effects, Waiters::SessionId session, RowId ns,
                      const AwaitItem& item, size_t* bytes);
  void Offer(const std::vector<WaitKey>& keys);
  void OfferStalled();
  // From item `start` on, in parts.
  void AwaitPart(Waiters::SessionId session, const CallerInfo& caller,
                 std::shared_ptr<const std::vector<AwaitItem>> items, size_t start);
  void GrantWaiter(const WaitKey& key, bool news);
  void GrantEnded(const Waiters::Candidate& candidate, const WaitKey& key, const WaitEvent& event,
                  const absl::Status& status);

  // `*damaged`: set if a result was found damaged, which is about to be withdrawn.
  Found FindIn(JobReader& reader, RowId ns, const JobAddress& address, uint64_t ticket,
               bool* damaged);
  void CountHit(RowId job);
  void WriteAllHits();
  // `part` rows of an operation.
  void WriteHits(std::shared_ptr<const std::vector<HitsRow>> rows, size_t start, size_t part);

  JobDatabase* const database_;
  BlobCatalogue* const blobs_;
  Clock* const clock_;
  const Options options_;
  LeaseTable leases_;
  Waiters waiters_;
  ResultCache cache_;
  HitCounter hits_;
  JobCounters counters_;
  std::mutex stalled_mutex_;
  // Jobs that could not be granted because the database could not be written; offered again after
  // the next commit, or after a second. Guarded by stalled_mutex_.
  std::vector<WaitKey> stalled_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_JOB_STORE_H_
