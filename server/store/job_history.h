// What is known of jobs: provenance, lists, and why one missed. Reads only.
#ifndef TIFFIN_SERVER_STORE_JOB_HISTORY_H_
#define TIFFIN_SERVER_STORE_JOB_HISTORY_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/job_store.h"

namespace tiffin::server {

struct EvidenceView {
  EvidenceRow row;
  SessionRow session;
};

// A job before or behind another.
struct RelatedJob {
  Digest key;
  std::string function;
  std::optional<BlobName> blob;  // that one made and the other uses; absent: a link
};

struct JobView {
  JobRow row;
  std::optional<SessionRow> submitter;
  std::optional<StoredResult> result;  // of the job itself, not of one it follows
  std::optional<HolderInfo> holder;
  size_t waiting = 0;
  std::vector<WaiterInfo> waiters;  // the first of them
  std::optional<Digest> linked_to;
  HitsRow hits;
  std::vector<EvidenceView> evidence;
  // Of Get only.
  std::string record;
  std::vector<BlobName> used, made;
  std::vector<RelatedJob> inputs, outputs;
};

struct JobFilter {
  std::string function;
  std::optional<std::string> version;
  std::string session, host;
  std::vector<JobState> states;
  absl::Time created_after = absl::InfinitePast();
  absl::Time created_before = absl::InfiniteFuture();
  absl::Time stored_before = absl::InfiniteFuture();
  bool nondeterministic = false;
  bool leased = false;
  bool empty() const;
};

struct JobPage {
  std::vector<JobView> jobs;  // without records
  RowId next = 0;             // go on behind it; 0: that was all
};

// In the order of v1.MissCause.
enum class MissCause {
  kNone,
  kNeverSeen,
  kNeverComputed,
  kInvalidated,
  kEvicted,
  kDamaged,
  kFailed,
  kLeased,
  kOtherVersion,
  kOtherSalt,
  kOtherArguments
};

struct Neighbour {
  JobRow row;
  std::vector<std::string> paths;  // in which it differs
};

struct Explanation {
  Digest key;
  MissCause cause = MissCause::kNeverSeen;
  std::string text;
  std::optional<JobView> job;
  std::vector<Neighbour> neighbours;
};

// Threads: all methods may be called from any thread; none waits for the writer, except Invalidate.
class JobHistory {
 public:
  // Both outlive it.
  JobHistory(JobDatabase* database, JobStore* jobs) : database_(database), jobs_(jobs) {}

  // NOT_FOUND: never submitted here.
  absl::StatusOr<JobView> Get(std::string_view name_space, const JobAddress& address, bool inputs,
                              bool outputs);
  // Looks at a bounded number of jobs, of which `size` at most are told.
  absl::StatusOr<JobPage> List(std::string_view name_space, const JobFilter& filter, RowId after,
                               bool newest_first, size_t size);
  // The nearest `neighbours` are told. `job_json` or `key`.
  absl::StatusOr<Explanation> Explain(std::string_view name_space, const std::optional<Digest>& key,
                                      std::string_view job_json, size_t neighbours);

  struct Selection {
    std::vector<Digest> keys;  // or
    JobFilter filter;
    bool cascade = false;
  };
  // What Invalidate would take back.
  absl::StatusOr<std::vector<RowId>> Select(std::string_view name_space,
                                            const Selection& selection);
  struct Invalidated {
    size_t jobs = 0;
    std::vector<Digest> keys;  // the first ones
  };
  absl::StatusOr<Invalidated> Invalidate(std::string_view name_space, const Selection& selection,
                                         bool dry_run);

 private:
  // How many are told.
  struct ViewOptions {
    size_t waiters = 0;
    size_t evidence = 0;
  };
  absl::StatusOr<JobView> View(JobReader& reader, JobRow row, const ViewOptions& options);
  // How many wait for the job, or for one that follows it, and who, at most `told` of them.
  absl::Status AddWaiting(JobReader& reader, size_t told, JobView* view);

  JobDatabase* const database_;
  JobStore* const jobs_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_JOB_HISTORY_H_
