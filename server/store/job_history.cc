#include "server/store/job_history.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "common/status.h"
#include "server/store/damaged.h"
#include "server/store/job_views.h"

namespace tiffin::server {
namespace {

constexpr size_t kLooked = 5000;  // jobs that one List looks at
constexpr int kRelated = 1000;    // that one Get tells, in each direction
constexpr size_t kKeysTold = 10'000;
constexpr size_t kWaiters = 100;  // of a job
constexpr size_t kWaitersInLists = 10;
constexpr size_t kEvidence = 100;  // of a job
constexpr size_t kEvidenceInLists = 10;

absl::StatusOr<std::vector<BlobName>> Names(JobReader& reader, const std::vector<RowId>& blobs) {
  std::vector<BlobName> names;
  for (const RowId blob : blobs) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> row, reader.FindBlob(blob));
    if (row) names.push_back(row->name);
  }
  return names;
}

// The blobs, what the values among them hold refs to, and the values that hold refs to those:
// whoever has one of them has something of the others.
absl::StatusOr<std::vector<RowId>> WithNested(JobReader& reader, std::vector<RowId> blobs) {
  std::set<RowId> seen(blobs.begin(), blobs.end());
  const auto add = [&](const std::vector<RowId>& more) {
    for (const RowId blob : more) {
      if (seen.insert(blob).second) blobs.push_back(blob);
    }
  };
  for (size_t i = 0; i < blobs.size(); ++i) {
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> held, reader.BlobsHeldBy(blobs[i]));
    add(held);
  }
  for (size_t i = 0; i < blobs.size(); ++i) {
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> holders, reader.BlobsHolding(blobs[i]));
    add(holders);
  }
  return blobs;
}

// Jobs that have the blobs, or what is in them or around them, in the other use.
absl::Status AddRelated(JobReader& reader, const JobRow& job, const std::vector<RowId>& own,
                        BlobUse use, std::vector<RelatedJob>* out) {
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> blobs, WithNested(reader, own));
  for (const RowId blob : blobs) {
    if (out->size() >= kRelated) return absl::OkStatus();
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> row, reader.FindBlob(blob));
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> jobs,
                            reader.JobsUsing(job.namespace_id, blob, use, kRelated));
    for (const RowId id : jobs) {
      if (out->size() >= kRelated) return absl::OkStatus();
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> other, FindSoundJob(reader, id));
      if (other && row && id != job.id) out->push_back({other->key, other->function, row->name});
    }
  }
  return absl::OkStatus();
}

bool Matches(const JobFilter& filter, const JobRow& row) {
  return (filter.function.empty() || row.function == filter.function) &&
         (!filter.version || row.version == *filter.version) &&
         row.created > filter.created_after && row.created < filter.created_before &&
         (filter.states.empty() ||
          std::find(filter.states.begin(), filter.states.end(), row.state) != filter.states.end());
}

// What only other rows tell.
absl::StatusOr<bool> MatchesRows(JobReader& reader, const JobFilter& filter, const JobRow& row) {
  if (!filter.host.empty() || !filter.session.empty()) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<SessionRow> session,
                            reader.FindSession(row.session));
    if (!session) return false;
    if (!filter.host.empty() && session->host != filter.host) return false;
    if (!filter.session.empty() && session->token != filter.session) return false;
  }
  if (filter.leased) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<LeaseRow> lease, reader.FindLease(row.id));
    if (!lease) return false;
  }
  if (filter.nondeterministic) {
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<EvidenceRow> evidence, reader.Evidence(row.id));
    if (evidence.empty()) return false;
  }
  if (filter.stored_before != absl::InfiniteFuture()) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<ResultRow> result, reader.FindResult(row.id));
    if (!result || result->stored >= filter.stored_before) return false;
  }
  return true;
}

// The next jobs that may match, by the best index there is, at most `limit`.
absl::StatusOr<std::vector<JobRow>> Candidates(JobReader& reader, const JobFilter& filter,
                                               const JobRange& range, int limit) {
  if (!filter.leased && !filter.nondeterministic) return reader.ListJobs(range, limit);
  std::vector<RowId> ids;
  if (filter.leased) {  // as many as fit in memory: they are all there
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<LeaseRow> leases, reader.AllLeases());
    for (const LeaseRow& lease : leases) ids.push_back(lease.job);
  } else {
    TIFFIN_ASSIGN_OR_RETURN(
        ids, reader.JobsWithEvidence(range.newest_first ? 0 : range.after,
                                     range.newest_first ? std::numeric_limits<int>::max() : limit));
  }
  if (range.newest_first) std::reverse(ids.begin(), ids.end());
  std::vector<JobRow> rows;
  for (const RowId id : ids) {
    if (static_cast<int>(rows.size()) >= limit) break;
    if (range.after != 0 && (range.newest_first ? id >= range.after : id <= range.after)) continue;
    TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> row, FindSoundJob(reader, id));
    if (row) rows.push_back(*std::move(row));
  }
  return rows;
}

}  // namespace

bool JobFilter::empty() const {
  return function.empty() && !version && session.empty() && host.empty() && states.empty() &&
         created_after == absl::InfinitePast() && created_before == absl::InfiniteFuture() &&
         stored_before == absl::InfiniteFuture() && !nondeterministic && !leased;
}

absl::Status JobHistory::AddWaiting(JobReader& reader, size_t told, JobView* view) {
  std::vector<JobRow> jobs{view->row};  // and those that follow it
  for (size_t i = 0; i < jobs.size() && i < kRelated; ++i) {
    view->waiting += jobs_->WaitingFor(jobs[i].namespace_id, jobs[i].key);
    const std::vector<WaiterInfo> more =
        jobs_->WhoWaitsFor(jobs[i].namespace_id, jobs[i].key, told - view->waiters.size());
    view->waiters.insert(view->waiters.end(), more.begin(), more.end());
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> followers, reader.JobsLinkedTo(jobs[i].id));
    for (const RowId id : followers) {
      TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> follower, FindSoundJob(reader, id));
      if (follower) jobs.push_back(*std::move(follower));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<JobView> JobHistory::View(JobReader& reader, JobRow row,
                                         const ViewOptions& options) {
  JobView view;
  view.row = std::move(row);
  const JobRow& job = view.row;
  TIFFIN_ASSIGN_OR_RETURN(view.submitter, reader.FindSession(job.session));
  absl::StatusOr<std::optional<StoredResult>> result = FindStored(reader, job, job);
  if (const RowId damaged = DamagedJobOf(result.status())) {
    jobs_->WithdrawDamagedResult(damaged);
  } else {
    TIFFIN_ASSIGN_OR_RETURN(view.result, std::move(result));
  }
  TIFFIN_ASSIGN_OR_RETURN(const JobInHand in_hand, WithLease(reader, job));
  if (in_hand.lease) {
    TIFFIN_ASSIGN_OR_RETURN(view.holder, HolderOf(reader, *in_hand.lease));
  }
  TIFFIN_RETURN_IF_ERROR(AddWaiting(reader, options.waiters, &view));
  if (job.link != 0) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> target, FindSoundJob(reader, job.link));
    if (target) view.linked_to = target->key;
  }
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<HitsRow> hits, reader.FindHits(job.id));
  if (hits) view.hits = *hits;
  if (const std::optional<HitsRow> recent = jobs_->RecentHits(job.id)) {
    view.hits.hits += recent->hits;
    view.hits.last = std::max(view.hits.last, recent->last);
  }
  if (options.evidence == 0) return view;
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<EvidenceRow> evidence, reader.Evidence(job.id));
  for (const EvidenceRow& each : evidence) {
    if (view.evidence.size() == options.evidence) break;
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<SessionRow> session,
                            reader.FindSession(each.session));
    view.evidence.push_back({each, session.value_or(SessionRow())});
  }
  return view;
}

absl::StatusOr<JobView> JobHistory::Get(std::string_view name_space, const JobAddress& address,
                                        bool inputs, bool outputs) {
  JobView view;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, reader.FindNamespace(name_space));
    std::optional<JobRow> row;
    if (const auto* alias = std::get_if<AliasKey>(&address)) {
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<AliasRow> found,
                              FindSoundAlias(reader, ns, alias->profile, alias->name));
      if (found) {
        TIFFIN_ASSIGN_OR_RETURN(row, reader.FindJob(found->job));
      }
    } else {
      TIFFIN_ASSIGN_OR_RETURN(row, reader.FindJob(ns, std::get<Digest>(address)));
    }
    if (!row) return absl::NotFoundError("job: never submitted here");
    TIFFIN_ASSIGN_OR_RETURN(
        view, View(reader, *std::move(row), {.waiters = kWaiters, .evidence = kEvidence}));
    const JobRow& job = view.row;
    TIFFIN_ASSIGN_OR_RETURN(const auto record, reader.FindJobRecord(job.id));
    view.record = record.value_or("");
    TIFFIN_ASSIGN_OR_RETURN(const auto used, reader.BlobsUsed(job.id, BlobUse::kArgument));
    TIFFIN_ASSIGN_OR_RETURN(const auto made, reader.BlobsUsed(job.id, BlobUse::kResult));
    TIFFIN_ASSIGN_OR_RETURN(view.used, Names(reader, used));
    TIFFIN_ASSIGN_OR_RETURN(view.made, Names(reader, made));
    if (inputs) {
      TIFFIN_RETURN_IF_ERROR(AddRelated(reader, job, used, BlobUse::kResult, &view.inputs));
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> target, FindSoundJob(reader, job.link));
      if (target) view.inputs.push_back({target->key, target->function, std::nullopt});
    }
    if (outputs) {
      TIFFIN_RETURN_IF_ERROR(AddRelated(reader, job, made, BlobUse::kArgument, &view.outputs));
      TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> followers, reader.JobsLinkedTo(job.id));
      for (const RowId id : followers) {
        TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> follower, FindSoundJob(reader, id));
        if (view.outputs.size() >= kRelated) break;
        if (follower) view.outputs.push_back({follower->key, follower->function, std::nullopt});
      }
    }
    return absl::OkStatus();
  }));
  return view;
}

namespace {

struct RowPage {
  std::vector<JobRow> rows;
  RowId next = 0;  // go on behind it; 0: that was all
};

// The next jobs that match, at most `size`, of a bounded number that is looked at.
absl::StatusOr<RowPage> Scan(JobReader& reader, RowId ns, const JobFilter& filter, RowId after,
                             bool newest_first, size_t size) {
  RowPage page;
  JobRange range{.namespace_id = ns,
                 .function = filter.function,
                 .newest_first = newest_first,
                 .after = after};
  if (!filter.session.empty()) {
    TIFFIN_ASSIGN_OR_RETURN(const auto session, reader.FindSession(ns, filter.session));
    if (!session) return page;
    range.session = session->id;
  }
  for (size_t looked = 0; looked < kLooked;) {
    constexpr int kStep = 500;
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<JobRow> rows,
                            Candidates(reader, filter, range, kStep));
    for (const JobRow& row : rows) {
      range.after = row.id;
      if (row.damaged || row.namespace_id != ns || !Matches(filter, row)) continue;
      TIFFIN_ASSIGN_OR_RETURN(const bool matches, MatchesRows(reader, filter, row));
      if (!matches) continue;
      page.rows.push_back(row);
      page.next = row.id;
      if (page.rows.size() == size) return page;
    }
    page.next = range.after;
    if (rows.size() < kStep) {
      page.next = 0;
      return page;
    }
    looked += rows.size();
  }
  return page;
}

}  // namespace

absl::StatusOr<JobPage> JobHistory::List(std::string_view name_space, const JobFilter& filter,
                                         RowId after, bool newest_first, size_t size) {
  JobPage page;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, reader.FindNamespace(name_space));
    if (ns == 0) return absl::OkStatus();
    TIFFIN_ASSIGN_OR_RETURN(RowPage found, Scan(reader, ns, filter, after, newest_first, size));
    page.next = found.next;
    for (JobRow& row : found.rows) {
      TIFFIN_ASSIGN_OR_RETURN(JobView view,
                              View(reader, std::move(row),
                                   {.waiters = kWaitersInLists,
                                    .evidence = filter.nondeterministic ? kEvidenceInLists : 0}));
      // may be large, and is not told
      if (view.result) std::string().swap(view.result->row.record);
      page.jobs.push_back(std::move(view));
    }
    return absl::OkStatus();
  }));
  return page;
}

// --- Invalidate
// ------------------------------------------------------------------------------------

namespace {

// Adds the jobs that used what `job` made, and those that follow it.
absl::Status AddComputedFrom(JobReader& reader, const JobRow& job, std::set<RowId>* seen,
                             std::vector<RowId>* todo) {
  TIFFIN_ASSIGN_OR_RETURN(std::vector<RowId> made, reader.BlobsUsed(job.id, BlobUse::kResult));
  TIFFIN_ASSIGN_OR_RETURN(made, WithNested(reader, std::move(made)));
  TIFFIN_ASSIGN_OR_RETURN(std::vector<RowId> next, reader.JobsLinkedTo(job.id));
  for (const RowId blob : made) {
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> users,
                            reader.JobsUsing(job.namespace_id, blob, BlobUse::kArgument,
                                             std::numeric_limits<int>::max()));
    next.insert(next.end(), users.begin(), users.end());
  }
  for (const RowId id : next) {
    if (seen->insert(id).second) todo->push_back(id);
  }
  return absl::OkStatus();
}

bool HasSomething(const JobRow& row) {
  return row.state != JobState::kAbsent || row.epoch >= std::max<int64_t>(row.valid_from, 1);
}

}  // namespace

absl::StatusOr<std::vector<RowId>> JobHistory::Select(std::string_view name_space,
                                                      const Selection& selection) {
  std::vector<RowId> out;
  if (selection.keys.empty() && selection.filter.empty()) {
    return absl::InvalidArgumentError("filter: neither keys nor a filter");
  }
  if (!selection.keys.empty() && !selection.filter.empty()) {
    return absl::InvalidArgumentError("filter: keys and a filter: give one of them");
  }
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, reader.FindNamespace(name_space));
    if (ns == 0) return absl::OkStatus();
    std::vector<RowId> todo;
    std::set<RowId> seen;
    for (const Digest& key : selection.keys) {
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> row, reader.FindJob(ns, key));
      if (row && seen.insert(row->id).second) todo.push_back(row->id);
    }
    for (RowId after = 0; !selection.filter.empty();) {
      TIFFIN_ASSIGN_OR_RETURN(const RowPage page,
                              Scan(reader, ns, selection.filter, after, false, 1000));
      for (const JobRow& row : page.rows) {
        if (seen.insert(row.id).second) todo.push_back(row.id);
      }
      after = page.next;
      if (after == 0) break;
    }
    for (size_t i = 0; i < todo.size(); ++i) {
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> row, FindSoundJob(reader, todo[i]));
      if (!row) continue;
      if (HasSomething(*row)) out.push_back(row->id);
      if (selection.cascade) {
        TIFFIN_RETURN_IF_ERROR(AddComputedFrom(reader, *row, &seen, &todo));
      }
    }
    return absl::OkStatus();
  }));
  return out;
}

absl::StatusOr<JobHistory::Invalidated> JobHistory::Invalidate(std::string_view name_space,
                                                               const Selection& selection,
                                                               bool dry_run) {
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> jobs, Select(name_space, selection));
  Invalidated out{.jobs = jobs.size()};
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    for (size_t i = 0; i < std::min(jobs.size(), kKeysTold); ++i) {
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> row, FindSoundJob(reader, jobs[i]));
      if (row) out.keys.push_back(row->key);
    }
    return absl::OkStatus();
  }));
  if (!dry_run) {
    TIFFIN_ASSIGN_OR_RETURN(out.jobs, jobs_->Withdraw(jobs, Tombstone::kInvalidated));
  }
  return out;
}

}  // namespace tiffin::server
