// Explain: why a job is not answered from the store.
#include <algorithm>
#include <utility>

#include "common/bulk.h"
#include "common/json.h"
#include "common/status.h"
#include "server/store/job_history.h"
#include "server/store/job_views.h"
#include "server/store/value_diff.h"

namespace tiffin::server {
namespace {

constexpr int kLooked = 2000;  // stored jobs of the function, the newest ones
constexpr size_t kPaths = 20;  // told of each

std::string At(absl::Time time) {
  return absl::FormatTime(absl::RFC3339_sec, time, absl::UTCTimeZone());
}

// The cause of a job that was submitted; `end` is the job behind its links.
absl::Status SetCause(JobReader& reader, const JobInHand& end, Explanation* out) {
  const JobRow& row = end.row;
  const std::string removed = absl::StrCat(" at ", At(row.buried));
  if (row.state == JobState::kDone) {
    out->cause = MissCause::kNone;
    out->text = "its result is stored";
  } else if (end.lease) {
    TIFFIN_ASSIGN_OR_RETURN(const HolderInfo holder, HolderOf(reader, *end.lease));
    out->cause = MissCause::kLeased;
    out->text =
        absl::StrCat("somebody computes it, on ", holder.session.host, " since ", At(holder.since));
  } else if (row.state == JobState::kFailed) {
    out->cause = MissCause::kFailed;
    out->text = "it failed; failures are told to those who wait, and run again by the next Submit";
  } else if (row.state == JobState::kUnfolding) {
    out->cause = MissCause::kNeverComputed;
    out->text = "its workflow is stored, but nobody unfolds it";
  } else if (row.tombstone == Tombstone::kInvalidated) {
    out->cause = MissCause::kInvalidated;
    out->text = "its result was invalidated" + removed;
  } else if (row.tombstone == Tombstone::kEvicted) {
    out->cause = MissCause::kEvicted;
    out->text = "its result was evicted to free space" + removed;
  } else if (row.tombstone == Tombstone::kDamaged) {
    out->cause = MissCause::kDamaged;
    out->text = "its result was found damaged" + removed;
  } else {
    out->cause = MissCause::kNeverComputed;
    out->text = row.epoch == 0 ? "it was submitted, but nobody took the lease"
                               : "its holders gave it back or were lost";
  }
  return absl::OkStatus();
}

struct ParsedJob {
  Value value;  // the parts point into it
  JobParts parts;
};

absl::StatusOr<std::unique_ptr<ParsedJob>> Parse(std::string_view json, const Limits& limits) {
  auto job = std::make_unique<ParsedJob>();
  TIFFIN_ASSIGN_OR_RETURN(Value value, ParseJson(json, limits.json));
  // As stored jobs are: bulk stands as refs.
  BulkOptions options;
  options.inline_limit = limits.inline_limit;
  TIFFIN_ASSIGN_OR_RETURN(TakenRecord taken, TakeBulk(std::move(value), options));
  job->value = std::move(taken.record);
  TIFFIN_ASSIGN_OR_RETURN(job->parts, PartsOfJob(job->value));
  return job;
}

// A stored job, and in what it differs.
struct Near {
  Neighbour neighbour;  // its paths are cut off
  std::vector<std::string_view> parts;
};

void AddDifferences(const JobParts& a, const JobParts& b, Near* near) {
  const Value null;
  const auto part = [&](const Value* value) -> const Value& { return value ? *value : null; };
  std::vector<std::string>& paths = near->neighbour.paths;
  const auto add = [&](const Value* x, const Value* y, std::string_view at) {
    std::vector<std::string> more = DiffPaths(part(x), part(y), at, kPaths);
    if (!more.empty()) near->parts.push_back(at);
    paths.insert(paths.end(), more.begin(), more.end());
  };
  add(a.function, b.function, "function");
  add(a.arguments, b.arguments, "arguments");
  add(a.version, b.version, "version");
  add(a.salt, b.salt, "salt");
  if (paths.size() > kPaths) paths.resize(kPaths);
}

void SetCauseByNearest(const Near& nearest, Explanation* out) {
  if (nearest.parts.size() > 1) {
    out->text = "never computed here; the nearest job differs in more than one part";
  } else if (nearest.parts[0] == "version") {
    out->cause = MissCause::kOtherVersion;
    out->text = "stored with another version";
  } else if (nearest.parts[0] == "salt") {
    out->cause = MissCause::kOtherSalt;
    out->text = "stored with another salt";
  } else if (nearest.parts[0] == "arguments") {
    out->cause = MissCause::kOtherArguments;
    out->text = "stored with other arguments";
  } else {
    out->text = "never computed here; the nearest job's function differs, under the same name";
  }
}

// Sets the neighbours, and the cause by the nearest.
absl::Status AddNeighbours(JobReader& reader, RowId ns, const ParsedJob& job, const Digest& key,
                           const Limits& limits, size_t wanted, Explanation* out) {
  const JobRange range{
      .namespace_id = ns, .function = FunctionName(*job.parts.function), .newest_first = true};
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<JobRow> rows, reader.ListJobs(range, kLooked));
  std::vector<Near> found;
  for (const JobRow& row : rows) {
    // Only what would have been a hit.
    if (row.damaged || row.key == key) continue;
    TIFFIN_ASSIGN_OR_RETURN(const JobInHand end, EndOf(reader, JobInHand{.row = row}));
    if (end.row.state != JobState::kDone) continue;
    TIFFIN_ASSIGN_OR_RETURN(const auto record, reader.FindJobRecord(row.id));
    if (!record) continue;
    const auto other = Parse(*record, limits);
    if (!other.ok()) continue;  // of an older release with other limits
    Near near{.neighbour = {.row = row, .paths = {}}, .parts = {}};
    AddDifferences(job.parts, (*other)->parts, &near);
    if (!near.parts.empty()) found.push_back(std::move(near));
  }
  // The newest of those that are equally near comes first.
  std::stable_sort(found.begin(), found.end(), [](const Near& a, const Near& b) {
    return a.neighbour.paths.size() < b.neighbour.paths.size();
  });
  if (!found.empty()) SetCauseByNearest(found[0], out);
  if (found.size() > wanted) found.resize(wanted);
  for (Near& near : found) out->neighbours.push_back(std::move(near.neighbour));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Explanation> JobHistory::Explain(std::string_view name_space,
                                                const std::optional<Digest>& key,
                                                std::string_view job_json, size_t neighbours) {
  Explanation out;
  std::unique_ptr<ParsedJob> job;
  if (key) {
    out.key = *key;
  } else {
    // The key is that of the job as sent, and of the job with refs: they are the same.
    absl::StatusOr<std::unique_ptr<ParsedJob>> parsed = Parse(job_json, jobs_->limits());
    if (!parsed.ok()) return Annotate(parsed.status(), "job");
    job = *std::move(parsed);
    TIFFIN_ASSIGN_OR_RETURN(out.key, JobKey(job->parts, {.allow_unversioned_main = true}));
  }
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, reader.FindNamespace(name_space));
    TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> row, reader.FindJob(ns, out.key));
    if (row) {
      TIFFIN_ASSIGN_OR_RETURN(JobView view, View(reader, *row, {}));
      TIFFIN_ASSIGN_OR_RETURN(const JobInHand in_hand, WithLease(reader, *std::move(row)));
      TIFFIN_ASSIGN_OR_RETURN(const JobInHand end, EndOf(reader, in_hand));
      TIFFIN_RETURN_IF_ERROR(SetCause(reader, end, &out));
      out.job = std::move(view);
      // That somebody asked for it, and no more, tells nothing of why it was not there.
      if (out.cause != MissCause::kNeverComputed || end.row.epoch > 0) return absl::OkStatus();
      TIFFIN_ASSIGN_OR_RETURN(const auto record, reader.FindJobRecord(out.job->row.id));
      if (!job && record) {
        TIFFIN_ASSIGN_OR_RETURN(job, Parse(*record, jobs_->limits()));
      }
      if (!job) return absl::OkStatus();
      return AddNeighbours(reader, ns, *job, out.key, jobs_->limits(), neighbours, &out);
    }
    out.cause = MissCause::kNeverSeen;
    if (!job) {
      out.text = "never submitted here; with the job's record its neighbours can be named";
      return absl::OkStatus();
    }
    out.text = "never submitted here, nor another job of that function";
    return AddNeighbours(reader, ns, *job, out.key, jobs_->limits(), neighbours, &out);
  }));
  return out;
}

}  // namespace tiffin::server
