// The rules of a job's life (DESIGN.md 5), over the rows of JobDatabase.
#ifndef TIFFIN_SERVER_STORE_JOB_STORE_H_
#define TIFFIN_SERVER_STORE_JOB_STORE_H_

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
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
#include "server/store/lease_table.h"
#include "server/store/record_gate.h"
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

// Since the start of the process.
struct JobCounters {
  std::atomic<uint64_t> submits{0}, retrieved{0}, granted{0}, attached{0}, stored{0}, lapsed{0};
};

// Threads: all methods may be called from any thread but the writer's; they block until what they
// answer is durable.
class JobStore {
 public:
  struct Options {
    Limits limits;
    bool allow_unversioned_main = false;
  };
  // All outlive the store.
  JobStore(JobDatabase* database, BlobCatalogue* blobs, Clock* clock, Options options);
  ~JobStore();

  // Gives every stored lease a full term and begins to watch them.
  absl::Status Start();
  void Stop();

  absl::StatusOr<SubmitAnswer> Submit(const CallerInfo& caller, std::string_view job_json,
                                      const SubmitOptions& options);
  absl::StatusOr<StoredResult> GetResult(std::string_view name_space, const JobAddress& address,
                                         Digest* key);
  // On FAILED_PRECONDITION for absent blobs, `answer->missing` lists them.
  absl::Status StoreResult(const CallerInfo& caller, StoreRequest request, StoreAnswer* answer);
  Renewal Renew(std::string_view lease_id) { return leases_.Renew(lease_id); }
  // Whether the lease was live.
  absl::StatusOr<bool> Release(std::string_view lease_id);
  absl::Status Link(const CallerInfo& caller, const Digest& key, std::string_view lease_id,
                    const Digest& target);

  absl::Status SetAlias(const CallerInfo& caller, const AliasKey& alias, const Digest& key,
                        bool replace);
  absl::Status DeleteAlias(std::string_view name_space, const AliasKey& alias);
  struct AliasEntry {
    AliasKey alias;
    Digest key;
  };
  absl::StatusOr<std::vector<AliasEntry>> ListAliases(std::string_view name_space,
                                                      std::string_view profile,
                                                      const AliasKey& after, int limit);

  Waiters::SessionId OpenAwait(AwaitSession session) { return waiters_.Open(std::move(session)); }
  // The state of each job now, then what changes, as `tell` of the session is told.
  void Await(Waiters::SessionId session, const CallerInfo& caller, std::vector<AwaitItem> items);
  void AddCapacity(Waiters::SessionId session, const CallerInfo& caller, uint64_t leases);
  void CloseAwait(Waiters::SessionId session) { waiters_.Close(session); }

  // The record with its bulk inline, for a caller of that namespace.
  absl::StatusOr<std::string> Inline(std::string_view name_space, std::string_view json);
  absl::StatusOr<DatabaseCounts> Counts();

  const Limits& limits() const { return options_.limits; }
  const JobCounters& counters() const { return counters_; }
  size_t waiting() { return waiters_.waiting(); }

 private:
  // What to do after COMMIT, gathered while the transaction runs.
  struct Effects;
  using Apply = std::function<absl::Status(JobTransaction&, Effects&)>;
  // Runs `apply` on the writer and its effects after COMMIT; waits.
  absl::Status Change(Apply apply);
  void ChangeLater(Apply apply, std::function<void(absl::Status)> done = nullptr);

  absl::Status SubmitIn(JobTransaction& tx, Effects& effects, const CallerInfo& caller,
                        const JobRow& fresh, const TakenIn& in, const SubmitOptions& options,
                        SubmitAnswer* answer);
  absl::Status StoreIn(JobTransaction& tx, Effects& effects, const CallerInfo& caller,
                       const StoreRequest& request, const TakenIn& in, const ResultRow& result,
                       const std::optional<JobRow>& fresh, StoreAnswer* answer,
                       absl::Status* refused);
  absl::Status FinishValue(JobTransaction& tx, Effects& effects, JobRow job,
                           const std::optional<LeaseRow>& lease, const ResultRow& result,
                           const std::vector<RowId>& blobs);
  absl::Status LapseIn(JobTransaction& tx, Effects& effects, RowId job, const std::string& lease);
  absl::Status EndLease(JobTransaction& tx, Effects& effects, JobRow job, const LeaseRow& lease);
  absl::Status LookIn(JobTransaction& tx, Effects& effects, Waiters::SessionId session,
                      const CallerInfo& caller, const AwaitItem& item);
  absl::Status GrantIn(JobTransaction& tx, Effects& effects, JobRow job, const CallerInfo& caller,
                       absl::Duration term, bool keep, LeaseRow* lease,
                       std::optional<StoredResult>* workflow);
  void GrantWaiter(const WaitKey& key, bool news);
  absl::StatusOr<std::pair<JobRow, TakenIn>> ReadJob(std::string_view json);

  JobDatabase* const database_;
  BlobCatalogue* const blobs_;
  Clock* const clock_;
  const Options options_;
  LeaseTable leases_;
  Waiters waiters_;
  JobCounters counters_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_JOB_STORE_H_
