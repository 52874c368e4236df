// Submit: jobs in, results or leases out.
#include <algorithm>
#include <utility>

#include "common/json.h"
#include "common/status.h"
#include "server/store/job_effects.h"
#include "server/store/job_store.h"
#include "server/store/job_views.h"

namespace tiffin::server {
namespace {

using Outcome = SubmitAnswer::Outcome;

constexpr size_t kLeaseIdBytes = 16;
// Jobs of one operation: others get their turn between two of a large batch.
constexpr size_t kPart = 256;

}  // namespace

// What is the same for all jobs of one operation.
struct JobStore::SubmitContext {
  const SubmitOptions* options;
  // of results and workflows that the batch was told; nullptr: one job, told whatever its size
  size_t* bytes;
  RowId namespace_id = 0;
  RowId session = 0;
};

absl::StatusOr<PreparedJob> JobStore::Prepare(std::string_view json) {
  absl::StatusOr<Value> value = ParseJson(json, options_.limits.json);
  if (!value.ok()) return Annotate(value.status(), "job");
  absl::StatusOr<JobParts> parts = PartsOfJob(*value);
  if (!parts.ok()) return Annotate(parts.status(), "job");
  PreparedJob job;
  absl::StatusOr<Digest> key =
      JobKey(*parts, {.allow_unversioned_main = options_.allow_unversioned_main});
  if (!key.ok()) return Annotate(key.status(), "job");
  job.row.key = *key;
  job.row.function = FunctionName(*parts->function);
  job.row.version = VersionText(*parts);
  job.row.created = clock_->Now();
  job.value = *std::move(value);
  return job;
}

absl::Status JobStore::TakeJobIn(PreparedJob* job) {
  absl::StatusOr<TakenIn> in = TakeIn(std::move(job->value), options_.limits);
  if (!in.ok()) return Annotate(in.status(), "job");
  job->in = *std::move(in);
  job->row.record = std::move(job->in.json);
  return absl::OkStatus();
}

// What the index did not take is removed from the disk with its last copy.
void JobStore::LetGo(std::vector<NewBlob> blobs, const Blocking& blocking) {
  if (!blobs.empty()) blocking([blobs = std::move(blobs)] {});
}

absl::Status JobStore::MakeJobDurable(PreparedJob* job) {
  return Annotate(MakeDurable(*blobs_, &job->in), "job");
}

absl::StatusOr<std::optional<SubmitAnswer>> JobStore::SubmitHit(const CallerInfo& caller,
                                                                const PreparedJob& job) {
  const Found found = GetResult(caller.name_space, job.row.key);
  if (absl::IsNotFound(found.status())) return std::nullopt;
  ++counters_.submits;
  if (!found.ok()) return found.status();
  ++counters_.retrieved;
  return Retrieved(**found, true);
}

void JobStore::SubmitMiss(const CallerInfo& caller, PreparedJob job, const SubmitOptions& options,
                          const Blocking& blocking, SubmitDone done) {
  ++counters_.submits;
  if (absl::Status status = TakeJobIn(&job); !status.ok()) return done(std::move(status));
  struct Call {
    PreparedJob job;
    SubmitAnswer answer;
    std::optional<uint64_t> grants;
    Miss miss;
  };
  const auto call = std::make_shared<Call>();
  call->job = std::move(job);
  // Alone, the request id is the job's.
  call->miss = {&call->job, caller.request_id, &call->answer};
  const auto change = [=, this, done = std::move(done)] {
    if (absl::Status status = MakeJobDurable(&call->job); !status.ok()) {
      return done(std::move(status));
    }
    Change([call, apply = SubmitPart(caller, options, {&call->miss, 1}, &call->grants, nullptr)](
               JobTransaction& tx, Effects& effects) { return apply(tx, effects); },
           [this, call, blocking, done](const absl::Status& status) {
             PartEnded(status, {&call->miss, 1});
             LetGo(std::move(call->job.in.blobs), blocking);
             if (!status.ok()) return done(status);
             done(std::move(call->answer));
           });
  };
  if (call->job.in.bulk.empty()) return change();
  blocking(change);
}

std::vector<absl::StatusOr<SubmitAnswer>> JobStore::SubmitMany(
    const CallerInfo& caller, std::vector<absl::StatusOr<PreparedJob>> jobs, uint64_t first,
    const SubmitOptions& options, std::optional<uint64_t>* grants, const ParallelFor& for_each) {
  counters_.submits += jobs.size();
  std::vector<absl::StatusOr<SubmitAnswer>> answers(jobs.size(), SubmitAnswer());
  // Hits never wait for a write: they are all looked up first.
  std::vector<size_t> places, misses;
  std::vector<JobAddress> keys;
  for (size_t i = 0; i < jobs.size(); ++i) {
    if (jobs[i].ok()) {
      places.push_back(i);
      keys.push_back(jobs[i]->row.key);
    } else {
      answers[i] = jobs[i].status();
    }
  }
  size_t bytes = 0;
  for (size_t at = 0; at < keys.size();) {
    const std::vector<Found> found =
        GetResults(caller.name_space, std::span(keys).subspan(at), options_.limits.max_reply_bytes);
    for (const Found& each : found) {
      absl::StatusOr<SubmitAnswer>& answer = answers[places[at]];
      if (absl::IsNotFound(each.status())) {
        misses.push_back(places[at]);
      } else if (!each.ok()) {
        answer = each.status();
      } else {
        ++counters_.retrieved;
        answer = Retrieved(**each, bytes < options_.limits.max_reply_bytes);
        if (answer->result) bytes += TextBytes(*answer->result);
      }
      ++at;
    }
  }
  std::vector<absl::Status> taken(misses.size());
  for_each(misses.size(), [&](size_t m) {
    PreparedJob* job = &*jobs[misses[m]];
    taken[m] = TakeJobIn(job);
    if (taken[m].ok()) taken[m] = MakeJobDurable(job);
  });
  std::vector<Miss> part;
  for (size_t m = 0; m < misses.size(); ++m) {
    const size_t i = misses[m];
    if (taken[m].ok()) {
      // A batch's jobs each have their own id: two equal ones are not the same call sent again.
      part.push_back({&*jobs[i],
                      caller.request_id.empty() ? "" : StrCat(caller.request_id, "#", first + i),
                      &*answers[i], i});
    } else {
      answers[i] = taken[m];
    }
    if (part.empty() || (part.size() < kPart && m + 1 < misses.size())) continue;
    const std::optional<uint64_t> before = *grants;
    const absl::Status status = Change(SubmitPart(caller, options, part, grants, &bytes));
    PartEnded(status, part);
    if (!status.ok()) *grants = before;
    for (const Miss& miss : part) {
      if (!status.ok()) answers[miss.place] = status;
    }
    part.clear();
  }
  return answers;
}

SubmitAnswer JobStore::Retrieved(const FoundResult& found, bool with_result) {
  SubmitAnswer answer;
  answer.key = found.key;
  answer.outcome = Outcome::kRetrieved;
  answer.present = !with_result;
  if (with_result) answer.result = found.result;
  return answer;
}

JobStore::Apply JobStore::SubmitPart(const CallerInfo& caller, const SubmitOptions& options,
                                     std::span<const Miss> part, std::optional<uint64_t>* grants,
                                     size_t* bytes) {
  return [=, this, left = *grants, told = bytes ? *bytes : 0](JobTransaction& tx,
                                                              Effects& effects) -> absl::Status {
    *grants = left;
    if (bytes) *bytes = told;
    // A lease that nobody hears of would hold the job for its term.
    if (options.gone && options.gone()) return absl::CancelledError("the caller is gone");
    SubmitContext context{&options, bytes};
    TIFFIN_ASSIGN_OR_RETURN(context.namespace_id, tx.EnsureNamespace(caller.name_space));
    SessionRow session = caller.session;
    session.namespace_id = context.namespace_id;
    TIFFIN_ASSIGN_OR_RETURN(context.session, tx.EnsureSession(session));
    for (const Miss& miss : part) {
      *miss.answer = SubmitAnswer();
      TIFFIN_RETURN_IF_ERROR(SubmitIn(tx, effects, context, *miss.job, miss.request_id,
                                      options.can_compute && (!*grants || **grants > 0),
                                      miss.answer));
      if (*grants && miss.answer->outcome == Outcome::kGranted) --**grants;
    }
    return absl::OkStatus();
  };
}

void JobStore::PartEnded(const absl::Status& status, std::span<const Miss> part) {
  for (const Miss& miss : part) {
    BlobCatalogue::Settle(status, miss.job->in.blobs);
    if (!status.ok()) continue;
    if (miss.answer->outcome == Outcome::kRetrieved) ++counters_.retrieved;
    if (miss.answer->outcome == Outcome::kGranted) ++counters_.granted;
    if (miss.answer->outcome == Outcome::kAttached) ++counters_.attached;
  }
}

absl::Status JobStore::SubmitIn(JobTransaction& tx, Effects& effects, const SubmitContext& context,
                                const PreparedJob& prepared, const std::string& request_id,
                                bool can_compute, SubmitAnswer* answer) {
  answer->key = prepared.row.key;
  const RowId ns = context.namespace_id;
  const bool keep = !context.options->discard_result;
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> known, tx.FindJob(ns, prepared.row.key));
  if (!known) {
    JobInHand job{prepared.row, std::nullopt};
    job.row.namespace_id = ns;
    job.row.session = context.session;
    if (can_compute) {
      answer->outcome = Outcome::kGranted;
      answer->lease = MakeLease(context.session, context.options->term, request_id);
      TIFFIN_RETURN_IF_ERROR(
          GrantIn(tx, effects, job, job.life(), *answer->lease, keep, &answer->workflow));
      answer->lease = job.lease;
    } else {
      job.row.keep = keep;  // of whoever waits for it and is granted
      TIFFIN_ASSIGN_OR_RETURN(job.row.id, tx.InsertJob(job.row));
      // Who waits for a job that nobody had sent can have it now.
      effects.offer.push_back({ns, job.row.key});
    }
    return EnterArguments(tx, job.row, prepared.in, &answer->missing);
  }
  // Of a job that is known, too: it may have come with refs to blobs that were absent.
  TIFFIN_RETURN_IF_ERROR(EnterArguments(tx, *known, prepared.in, &answer->missing));
  TIFFIN_ASSIGN_OR_RETURN(JobInHand job, WithLease(tx, *known));
  TIFFIN_ASSIGN_OR_RETURN(const JobInHand end, EndOf(tx, job));
  const bool fits = context.bytes == nullptr || *context.bytes < options_.limits.max_reply_bytes;
  const auto tell = [&](Outcome outcome, std::optional<StoredResult> stored) {
    answer->outcome = outcome;
    if (context.bytes && fits && stored) *context.bytes += TextBytes(*stored);
    answer->present = !fits;
    if (fits) answer->result = std::move(stored);
    return absl::OkStatus();
  };
  const Standing standing = StandingOf(end.life());
  if (standing == Standing::kDone) {
    TIFFIN_ASSIGN_OR_RETURN(std::optional<StoredResult> stored, FindStored(tx, end.row, job.row));
    return tell(Outcome::kRetrieved, std::move(stored));
  }
  if (standing == Standing::kHeld && end.row.id == job.row.id && !request_id.empty() &&
      end.lease->request_id == request_id && end.lease->session == context.session) {
    answer->outcome = Outcome::kGranted;  // the same call, sent again
    answer->lease = end.lease;
    if (job.row.state != JobState::kUnfolding) return absl::OkStatus();
    TIFFIN_ASSIGN_OR_RETURN(answer->workflow, FindStored(tx, job.row, job.row));
    return absl::OkStatus();
  }
  if (standing == Standing::kHeld) {
    answer->outcome = Outcome::kAttached;
    TIFFIN_ASSIGN_OR_RETURN(answer->holder, HolderOf(tx, *end.lease));
    return absl::OkStatus();
  }
  if (end.row.state == JobState::kFailed &&
      context.options->answer_failures > absl::ZeroDuration()) {
    TIFFIN_ASSIGN_OR_RETURN(std::optional<StoredResult> stored, FindStored(tx, end.row, job.row));
    if (stored && clock_->Now() - stored->row.stored < context.options->answer_failures) {
      return tell(Outcome::kFailed, std::move(stored));
    }
  }
  // One whose workflow does not fit is left to a later call.
  if (!can_compute || (job.row.state == JobState::kUnfolding && !fits)) {
    if (job.row.keep == keep) return absl::OkStatus();
    job.row.keep = keep;
    return tx.UpdateJob(job.row);
  }
  answer->outcome = Outcome::kGranted;
  TIFFIN_RETURN_IF_ERROR(GrantIn(tx, effects, job, end.life(),
                                 MakeLease(context.session, context.options->term, request_id),
                                 keep, &answer->workflow));
  answer->lease = job.lease;
  if (context.bytes && answer->workflow) *context.bytes += TextBytes(*answer->workflow);
  return absl::OkStatus();
}

absl::Status JobStore::EnterArguments(JobTransaction& tx, const JobRow& job, const TakenIn& in,
                                      Missing* missing) {
  std::vector<RowId> used;
  for (const NewBlob& blob : in.blobs) {
    TIFFIN_ASSIGN_OR_RETURN(const RowId id,
                            BlobCatalogue::Enter(tx, job.namespace_id, blob, clock_->Now()));
    used.push_back(id);
  }
  TIFFIN_ASSIGN_OR_RETURN(*missing,
                          BlobCatalogue::FindMissing(tx, job.namespace_id, in.refs, &used));
  for (const RowId id : used) TIFFIN_RETURN_IF_ERROR(tx.AddUse(job.id, id, BlobUse::kArgument));
  return absl::OkStatus();
}

LeaseRow JobStore::MakeLease(RowId session, absl::Duration term, const std::string& request_id) {
  LeaseRow lease;
  lease.lease_id = RandomBytes(kLeaseIdBytes);
  lease.session = session;
  lease.request_id = request_id;
  lease.term = term;
  lease.granted = clock_->Now();
  return lease;
}

absl::Status JobStore::GrantIn(JobTransaction& tx, Effects& effects, JobInHand& job,
                               const Life& end, LeaseRow lease, bool keep,
                               std::optional<StoredResult>* workflow) {
  TIFFIN_ASSIGN_OR_RETURN(lease.epoch, tx.NextEpoch());
  const Transition t = Grant(job.life(), end, lease.epoch, keep);
  if (!t.accepted()) return absl::InternalError("a job was granted that is not free");
  TIFFIN_RETURN_IF_ERROR(ApplyIn(tx, effects, job, t, {.lease = &lease}));
  if (job.row.state == JobState::kUnfolding) {
    TIFFIN_ASSIGN_OR_RETURN(*workflow, FindStored(tx, job.row, job.row));
  }
  return absl::OkStatus();
}

}  // namespace tiffin::server
