#include "server/store/job_store.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "common/cbor.h"
#include "common/json.h"
#include "common/status.h"
#include "server/store/job_effects.h"
#include "server/store/job_views.h"

namespace tiffin::server {
namespace {

constexpr size_t kLeaseIdBytes = 16;

// The error record of a job whose holders were lost.
std::string LostRecord(const JobRow& job) {
  return PrintJson(Value(Object{
      {"error", Value("LOST")},
      {"message", Value(absl::StrCat("lost ", job.losses, " times while it was computed"))},
      {"hosts", Value(job.lost_hosts)}}));
}

bool Grantable(JobState state, bool leased) {
  return state == JobState::kAbsent || state == JobState::kFailed ||
         (state == JobState::kUnfolding && !leased);
}

}  // namespace

JobStore::JobStore(JobDatabase* database, BlobCatalogue* blobs, Clock* clock, Options options)
    : database_(database), blobs_(blobs), clock_(clock), options_(std::move(options)),
      leases_(clock) {}

JobStore::~JobStore() { Stop(); }

absl::Status JobStore::Start() {
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<LeaseRow> leases, reader.AllLeases());
    for (const LeaseRow& lease : leases) leases_.Add(lease);
    return absl::OkStatus();
  }));
  leases_.Start([this](RowId job, const std::string& lease) {
    ChangeLater([this, job, lease](JobTransaction& tx, Effects& effects) {
      return LapseIn(tx, effects, job, lease);
    }, [this, lease](absl::Status status) {
      // Not committed: the lease lives on, and is looked at again after a term.
      if (!status.ok()) leases_.Renew(lease);
    });
  });
  return absl::OkStatus();
}

void JobStore::Stop() { leases_.Stop(); }

void JobStore::ChangeLater(Apply apply, std::function<void(absl::Status)> done) {
  auto effects = std::make_shared<Effects>();
  database_->Write({[apply = std::move(apply), effects](JobTransaction& tx) {
                      *effects = Effects();
                      return apply(tx, *effects);
                    },
                    [this, effects, done = std::move(done)](absl::Status status) {
                      if (status.ok()) {
                        for (const auto& effect : effects->after_commit) effect();
                        for (const WaitKey& key : effects->free) GrantWaiter(key, true);
                        for (const WaitKey& key : effects->offer) GrantWaiter(key, false);
                      }
                      if (done) done(status);
                    }});
}

absl::Status JobStore::Change(Apply apply) {
  struct Outcome {
    std::mutex mutex;
    std::condition_variable ready;
    std::optional<absl::Status> status;
  };
  auto outcome = std::make_shared<Outcome>();
  ChangeLater(std::move(apply), [outcome](absl::Status status) {
    std::lock_guard lock(outcome->mutex);
    outcome->status = std::move(status);
    outcome->ready.notify_all();
  });
  std::unique_lock lock(outcome->mutex);
  outcome->ready.wait(lock, [&] { return outcome->status.has_value(); });
  return *outcome->status;
}

absl::StatusOr<std::pair<JobRow, TakenIn>> JobStore::ReadJob(std::string_view json) {
  absl::StatusOr<Value> value = ParseJson(json, options_.limits.json);
  if (!value.ok()) return Annotate(value.status(), "job");
  absl::StatusOr<JobParts> parts = PartsOfJob(*value);
  if (!parts.ok()) return Annotate(parts.status(), "job");
  JobRow row;
  absl::StatusOr<Digest> key =
      JobKey(*parts, {.allow_unversioned_main = options_.allow_unversioned_main});
  if (!key.ok()) return Annotate(key.status(), "job");
  row.key = *key;
  row.function = FunctionName(*parts->function);
  row.version = VersionText(*parts);
  row.created = clock_->Now();
  absl::StatusOr<TakenIn> in = TakeIn(*std::move(value), options_.limits, *blobs_);
  if (!in.ok()) return Annotate(in.status(), "job");
  row.record = in->json;
  return std::make_pair(std::move(row), *std::move(in));
}

absl::StatusOr<SubmitAnswer> JobStore::Submit(const CallerInfo& caller, std::string_view job_json,
                                              const SubmitOptions& options) {
  ++counters_.submits;
  TIFFIN_ASSIGN_OR_RETURN(const auto read, ReadJob(job_json));
  const auto& [row, in] = read;
  SubmitAnswer answer;
  // A hit never waits for a write.
  Digest key;
  absl::StatusOr<StoredResult> stored = GetResult(caller.name_space, row.key, &key);
  if (stored.ok()) {
    answer.key = row.key;
    answer.outcome = SubmitAnswer::Outcome::kRetrieved;
    answer.result = *std::move(stored);
  } else if (!absl::IsNotFound(stored.status())) {
    return stored.status();
  } else {
    TIFFIN_RETURN_IF_ERROR(Change([&](JobTransaction& tx, Effects& effects) {
      answer = SubmitAnswer();
      return SubmitIn(tx, effects, caller, row, in, options, &answer);
    }));
  }
  using Outcome = SubmitAnswer::Outcome;
  if (answer.outcome == Outcome::kRetrieved) ++counters_.retrieved;
  if (answer.outcome == Outcome::kGranted) ++counters_.granted;
  if (answer.outcome == Outcome::kAttached) ++counters_.attached;
  return answer;
}

absl::Status JobStore::SubmitIn(JobTransaction& tx, Effects& effects, const CallerInfo& caller,
                                const JobRow& fresh, const TakenIn& in,
                                const SubmitOptions& options, SubmitAnswer* answer) {
  answer->key = fresh.key;
  TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.EnsureNamespace(caller.name_space));
  TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> job, tx.FindJob(ns, fresh.key));
  if (!job) {
    job = fresh;
    job->namespace_id = ns;
    SessionRow session = caller.session;
    session.namespace_id = ns;
    TIFFIN_ASSIGN_OR_RETURN(job->session, tx.EnsureSession(session));
    TIFFIN_ASSIGN_OR_RETURN(job->id, tx.InsertJob(*job));
    for (const NewBlob& blob : in.blobs) {
      TIFFIN_ASSIGN_OR_RETURN(const RowId id, BlobCatalogue::Enter(tx, ns, blob, clock_->Now()));
      TIFFIN_RETURN_IF_ERROR(tx.AddUse(job->id, id, BlobUse::kArgument));
    }
  }
  std::vector<RowId> used;
  TIFFIN_ASSIGN_OR_RETURN(answer->missing, BlobCatalogue::FindMissing(tx, ns, in.refs, &used));
  for (const RowId id : used) TIFFIN_RETURN_IF_ERROR(tx.AddUse(job->id, id, BlobUse::kArgument));

  TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> end, FollowLinks(tx, *job));
  if (end && end->state == JobState::kDone) {
    answer->outcome = SubmitAnswer::Outcome::kRetrieved;
    TIFFIN_ASSIGN_OR_RETURN(answer->result, FindStored(tx, *end, *job));
    return absl::OkStatus();
  }
  std::optional<LeaseRow> lease;
  if (end) {
    TIFFIN_ASSIGN_OR_RETURN(lease, tx.FindLease(end->id));
  }
  if (lease && end->id == job->id && !caller.request_id.empty() &&
      lease->request_id == caller.request_id) {
    answer->outcome = SubmitAnswer::Outcome::kGranted;  // the same call, sent again
    answer->lease = lease;
    if (job->state == JobState::kUnfolding) {
      TIFFIN_ASSIGN_OR_RETURN(answer->workflow, FindStored(tx, *job, *job));
    }
    return absl::OkStatus();
  }
  if (lease) {
    answer->outcome = SubmitAnswer::Outcome::kAttached;
    TIFFIN_ASSIGN_OR_RETURN(answer->holder, HolderOf(tx, *lease));
    return absl::OkStatus();
  }
  answer->outcome = SubmitAnswer::Outcome::kOpen;
  if (!options.can_compute) return absl::OkStatus();
  answer->outcome = SubmitAnswer::Outcome::kGranted;
  answer->lease.emplace();
  return GrantIn(tx, effects, *job, caller, options.term, !options.discard_result,
                 &*answer->lease, &answer->workflow);
}

absl::Status JobStore::GrantIn(JobTransaction& tx, Effects& effects, JobRow job,
                               const CallerInfo& caller, absl::Duration term, bool keep,
                               LeaseRow* lease, std::optional<StoredResult>* workflow) {
  if (job.state == JobState::kLinked) {  // its target is lost or failed: unfold it again
    job.state = JobState::kUnfolding;
    job.link = 0;
  }
  if (job.state == JobState::kUnfolding) {
    TIFFIN_ASSIGN_OR_RETURN(*workflow, FindStored(tx, job, job));
  } else {
    if (job.state == JobState::kFailed) TIFFIN_RETURN_IF_ERROR(tx.DeleteResult(job.id));
    job.state = JobState::kLeased;
  }
  SessionRow session = caller.session;
  session.namespace_id = job.namespace_id;
  TIFFIN_ASSIGN_OR_RETURN(job.epoch, tx.NextEpoch());
  lease->job = job.id;
  lease->lease_id = RandomBytes(kLeaseIdBytes);
  lease->epoch = job.epoch;
  TIFFIN_ASSIGN_OR_RETURN(lease->session, tx.EnsureSession(session));
  lease->request_id = caller.request_id;
  lease->term = term;
  lease->granted = clock_->Now();
  lease->keep = keep;
  TIFFIN_RETURN_IF_ERROR(tx.PutLease(*lease));
  TIFFIN_RETURN_IF_ERROR(tx.UpdateJob(job));
  WaitEvent held{.kind = WaitEvent::Kind::kAttached, .key = job.key};
  TIFFIN_ASSIGN_OR_RETURN(held.holder, HolderOf(tx, *lease));
  const WaitKey key{job.namespace_id, job.key};
  effects.after_commit.push_back([this, lease = *lease, held, key] {
    leases_.Add(lease);
    waiters_.Tell(key, held);
  });
  return absl::OkStatus();
}

absl::StatusOr<StoredResult> JobStore::GetResult(std::string_view name_space,
                                                 const JobAddress& address, Digest* key) {
  std::optional<StoredResult> result;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, reader.FindNamespace(name_space));
    std::optional<JobRow> job;
    if (const auto* alias = std::get_if<AliasKey>(&address)) {
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<AliasRow> row,
                              reader.FindAlias(ns, alias->profile, alias->name));
      if (!row) {
        return absl::NotFoundError(absl::StrCat("no alias ", alias->name, " in ", alias->profile));
      }
      TIFFIN_ASSIGN_OR_RETURN(job, reader.FindJob(row->job));
      if (job) *key = job->key;
    } else {
      *key = std::get<Digest>(address);
      if (ns != 0) {
        TIFFIN_ASSIGN_OR_RETURN(job, reader.FindJob(ns, *key));
      }
    }
    const std::string name = absl::StrCat("job ", key->ToText());
    if (!job) return absl::NotFoundError(absl::StrCat(name, ": never submitted here"));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> end, FollowLinks(reader, *job));
    const JobState state = end ? end->state : JobState::kAbsent;
    if (state == JobState::kDone) {
      TIFFIN_ASSIGN_OR_RETURN(result, FindStored(reader, *end, *job));
      if (!result) return absl::DataLossError(absl::StrCat(name, ": its result is missing"));
      return absl::OkStatus();
    }
    return absl::NotFoundError(absl::StrCat(
        name, state == JobState::kFailed      ? ": it failed; submit it to run it again"
              : state == JobState::kLeased    ? ": still computed"
              : state == JobState::kUnfolding ? ": its workflow is still unfolded"
                                              : ": no result"));
  }));
  return *std::move(result);
}

absl::Status JobStore::LapseIn(JobTransaction& tx, Effects& effects, RowId id,
                               const std::string& lease_id) {
  if (!leases_.Lapsed(lease_id)) return absl::OkStatus();  // renewed meanwhile
  TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> job, tx.FindJob(id));
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<LeaseRow> lease, tx.FindLease(id));
  if (!job || !lease || lease->lease_id != lease_id) {
    effects.after_commit.push_back([this, lease_id] { leases_.Remove(lease_id, Renewal::kLost); });
    return absl::OkStatus();
  }
  ++job->losses;
  TIFFIN_ASSIGN_OR_RETURN(const HolderInfo holder, HolderOf(tx, *lease));
  absl::StrAppend(&job->lost_hosts, job->lost_hosts.empty() ? "" : ",",
                  holder.session.host.empty() ? "unknown" : holder.session.host);
  effects.after_commit.push_back([this, key = job->key, host = holder.session.host] {
    ++counters_.lapsed;
    spdlog::info("event=lapsed key={} host=\"{}\"", key.ToText(), host);
  });
  if (job->losses < options_.limits.max_lost) return EndLease(tx, effects, *job, *lease);

  ResultRow error{.job = id, .kind = ResultKind::kError, .record = LostRecord(*job)};
  TIFFIN_ASSIGN_OR_RETURN(error.digest, ResultDigest(Value(Object{{"hosts", job->lost_hosts}})));
  error.epoch = lease->epoch;
  error.stored = clock_->Now();
  error.retryable = true;
  job->losses = 0;
  job->lost_hosts.clear();
  job->state = JobState::kFailed;
  TIFFIN_RETURN_IF_ERROR(tx.DeleteLease(id));
  TIFFIN_RETURN_IF_ERROR(tx.PutResult(error));
  TIFFIN_RETURN_IF_ERROR(tx.UpdateJob(*job));
  effects.after_commit.push_back([this, lease_id] { leases_.Remove(lease_id, Renewal::kLost); });
  TIFFIN_ASSIGN_OR_RETURN(const StoredResult stored, Dress(tx, error));
  return TellEnding(tx, effects, waiters_, *job, stored, WaitEvent::Kind::kFailed);
}

absl::Status JobStore::EndLease(JobTransaction& tx, Effects& effects, JobRow job,
                                const LeaseRow& lease) {
  if (job.state == JobState::kLeased) job.state = JobState::kAbsent;
  TIFFIN_RETURN_IF_ERROR(tx.DeleteLease(job.id));
  TIFFIN_RETURN_IF_ERROR(tx.UpdateJob(job));
  effects.after_commit.push_back(
      [this, id = lease.lease_id] { leases_.Remove(id, Renewal::kLost); });
  effects.free.push_back({job.namespace_id, job.key});
  // Those who follow a lost job are unfolding again.
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<JobRow> followers, Followers(tx, job.id));
  for (JobRow follower : followers) {
    follower.state = JobState::kUnfolding;
    follower.link = 0;
    TIFFIN_RETURN_IF_ERROR(tx.UpdateJob(follower));
    effects.free.push_back({follower.namespace_id, follower.key});
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> JobStore::Release(std::string_view lease_id) {
  bool released = false;
  TIFFIN_RETURN_IF_ERROR(Change([&](JobTransaction& tx, Effects& effects) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<LeaseRow> lease, tx.FindLeaseById(lease_id));
    released = lease.has_value();
    if (!lease) return absl::OkStatus();
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> job, tx.FindJob(lease->job));
    if (!job) return absl::DataLossError("a lease of no job");
    return EndLease(tx, effects, *job, *lease);
  }));
  return released;
}

absl::Status JobStore::Link(const CallerInfo& caller, const Digest& key,
                            std::string_view lease_id, const Digest& target_key) {
  return Change([&](JobTransaction& tx, Effects& effects) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.FindNamespace(caller.name_space));
    TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> job, tx.FindJob(ns, key));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> target, tx.FindJob(ns, target_key));
    if (!job) return absl::NotFoundError(absl::StrCat("key: no job ", key.ToText()));
    if (!target) {
      return absl::NotFoundError(absl::StrCat("target: no job ", target_key.ToText()));
    }
    if (job->state == JobState::kLinked && job->link == target->id) return absl::OkStatus();
    if (job->state != JobState::kUnfolding) {
      return absl::FailedPreconditionError("key: the job is not unfolding a workflow");
    }
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<LeaseRow> lease, tx.FindLease(job->id));
    if (!lease || !EqualInConstantTime(lease->lease_id, lease_id)) {
      return absl::FailedPreconditionError("lease: not the live lease of the job");
    }
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> end, FollowLinks(tx, *target));
    if (target->id == job->id || (end && end->id == job->id)) {
      return absl::FailedPreconditionError("target: the link would close a loop");
    }
    job->state = JobState::kLinked;
    job->link = target->id;
    TIFFIN_RETURN_IF_ERROR(tx.DeleteLease(job->id));
    TIFFIN_RETURN_IF_ERROR(tx.UpdateJob(*job));
    effects.after_commit.push_back(
        [this, id = lease->lease_id] { leases_.Remove(id, Renewal::kLost); });
    if (end && (end->state == JobState::kDone || end->state == JobState::kFailed)) {
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<StoredResult> stored,
                              FindStored(tx, *end, *job));
      if (stored) {
        return TellEnding(tx, effects, waiters_, *job, *stored,
                          end->state == JobState::kDone ? WaitEvent::Kind::kResult
                                                        : WaitEvent::Kind::kFailed);
      }
    }
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<LeaseRow> held, tx.FindLease(end ? end->id : 0));
    if (!held) effects.free.push_back({job->namespace_id, job->key});
    return absl::OkStatus();
  });
}

absl::StatusOr<std::string> JobStore::Inline(std::string_view name_space, std::string_view json) {
  RowId ns = 0;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(ns, reader.FindNamespace(name_space));
    return absl::OkStatus();
  }));
  return Inlined(json, ns, options_.limits, *blobs_);
}

absl::StatusOr<DatabaseCounts> JobStore::Counts() {
  DatabaseCounts counts;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(counts, reader.Counts());
    return absl::OkStatus();
  }));
  return counts;
}

// --- Awaiting --------------------------------------------------------------------------------------

void JobStore::Await(Waiters::SessionId session, const CallerInfo& caller,
                     std::vector<AwaitItem> items) {
  for (AwaitItem& item : items) {
    const uint64_t index = item.index;
    ChangeLater(
        [this, session, caller, item = std::move(item)](JobTransaction& tx, Effects& effects) {
          return LookIn(tx, effects, session, caller, item);
        },
        [this, session, index](absl::Status status) {
          if (status.ok()) return;
          waiters_.TellOne(session, index,
                           WaitEvent{.kind = WaitEvent::Kind::kError, .error = status});
        });
  }
}

void JobStore::AddCapacity(Waiters::SessionId session, const CallerInfo& caller, uint64_t leases) {
  waiters_.AddCapacity(session, leases);
  std::vector<AwaitItem> again;
  for (const auto& [index, key] : waiters_.Pending(session)) again.push_back({index, key.key, 0});
  Await(session, caller, std::move(again));
}

absl::Status JobStore::LookIn(JobTransaction& tx, Effects& effects, Waiters::SessionId session,
                              const CallerInfo& caller, const AwaitItem& item) {
  TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.EnsureNamespace(caller.name_space));
  std::optional<JobRow> job;
  WaitKey key{ns, {}};
  if (const auto* alias = std::get_if<AliasKey>(&item.job)) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<AliasRow> row,
                            tx.FindAlias(ns, alias->profile, alias->name));
    if (!row) {
      return absl::NotFoundError(absl::StrCat("no alias ", alias->name, " in ", alias->profile));
    }
    TIFFIN_ASSIGN_OR_RETURN(job, tx.FindJob(row->job));
    if (job) key.key = job->key;
  } else {
    key.key = std::get<Digest>(item.job);
    TIFFIN_ASSIGN_OR_RETURN(job, tx.FindJob(ns, key.key));
  }
  std::optional<JobRow> end;
  std::optional<LeaseRow> lease;
  std::optional<StoredResult> stored;
  if (job) {
    TIFFIN_ASSIGN_OR_RETURN(end, FollowLinks(tx, *job));
  }
  if (end) {
    TIFFIN_ASSIGN_OR_RETURN(lease, tx.FindLease(end->id));
    TIFFIN_ASSIGN_OR_RETURN(stored, FindStored(tx, *end, *job));
  }
  WaitEvent event{.kind = WaitEvent::Kind::kOpen, .key = key.key};
  const bool told_failure = end && end->state == JobState::kFailed && stored &&
                            item.after_epoch > 0 && stored->row.epoch >= item.after_epoch;
  if (end && stored && (end->state == JobState::kDone || told_failure)) {
    event.kind = told_failure ? WaitEvent::Kind::kFailed : WaitEvent::Kind::kResult;
    event.result = stored;
  } else if (lease) {
    event.kind = WaitEvent::Kind::kAttached;
    TIFFIN_ASSIGN_OR_RETURN(event.holder, HolderOf(tx, *lease));
  }
  effects.after_commit.push_back([this, session, item, key, event] {
    if (!waiters_.Add(session, item.index, key, item.after_epoch)) return;
    if (event.kind == WaitEvent::Kind::kResult || event.kind == WaitEvent::Kind::kFailed) {
      waiters_.EndOne(session, item.index, key, event);
    } else {
      waiters_.TellOne(session, item.index, event);
    }
  });
  if (event.kind == WaitEvent::Kind::kOpen && job) effects.offer.push_back(key);
  return absl::OkStatus();
}

void JobStore::GrantWaiter(const WaitKey& key, bool news) {
  std::optional<Waiters::Candidate> candidate = waiters_.TakeCandidate(key);
  if (!candidate) {
    if (news) waiters_.Tell(key, WaitEvent{.kind = WaitEvent::Kind::kOpen, .key = key.key});
    return;
  }
  auto event = std::make_shared<WaitEvent>();
  ChangeLater(
      [this, key, event, candidate = *candidate](JobTransaction& tx, Effects& effects)
          -> absl::Status {
        *event = WaitEvent{.kind = WaitEvent::Kind::kOpen, .key = key.key};
        TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> job,
                                tx.FindJob(key.namespace_id, key.key));
        if (!job) return absl::OkStatus();
        TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> end, FollowLinks(tx, *job));
        TIFFIN_ASSIGN_OR_RETURN(const std::optional<LeaseRow> lease, tx.FindLease(end ? end->id : 0));
        if (lease || (end && end->state == JobState::kDone)) return absl::OkStatus();
        if (job->state != JobState::kLinked && !Grantable(job->state, false)) {
          return absl::OkStatus();
        }
        event->kind = WaitEvent::Kind::kGranted;
        event->lease.emplace();
        return GrantIn(tx, effects, *job, candidate.caller, candidate.term, true, &*event->lease,
                       &event->workflow);
      },
      [this, key, event, candidate = *candidate](absl::Status status) {
        if (status.ok() && event->kind == WaitEvent::Kind::kGranted) {
          ++counters_.granted;
          if (!waiters_.EndOne(candidate.session, candidate.index, key, *event)) {
            // The stream ended meanwhile: nobody heard of the lease.
            ChangeLater([this, id = event->lease->lease_id](JobTransaction& tx, Effects& effects)
                            -> absl::Status {
              TIFFIN_ASSIGN_OR_RETURN(const std::optional<LeaseRow> lease, tx.FindLeaseById(id));
              if (!lease) return absl::OkStatus();
              TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> job, tx.FindJob(lease->job));
              return job ? EndLease(tx, effects, *job, *lease) : absl::OkStatus();
            });
          }
        } else {
          waiters_.AddCapacity(candidate.session, 1);  // it was not used
        }
      });
}

// --- Aliases ---------------------------------------------------------------------------------------

absl::Status JobStore::SetAlias(const CallerInfo& caller, const AliasKey& alias,
                                const Digest& key, bool replace) {
  return Change([&](JobTransaction& tx, Effects&) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.FindNamespace(caller.name_space));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> job, tx.FindJob(ns, key));
    if (!job) return absl::NotFoundError(absl::StrCat("key: no job ", key.ToText()));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<AliasRow> row,
                            tx.FindAlias(ns, alias.profile, alias.name));
    if (row && row->job == job->id) return absl::OkStatus();
    if (row && !replace) {
      return absl::AlreadyExistsError(absl::StrCat("alias: ", alias.name, " in ", alias.profile,
                                                   " points to another job; set replace"));
    }
    return tx.PutAlias({ns, alias.profile, alias.name, job->id});
  });
}

absl::Status JobStore::DeleteAlias(std::string_view name_space, const AliasKey& alias) {
  return Change([&](JobTransaction& tx, Effects&) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.FindNamespace(name_space));
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<AliasRow> row,
                            tx.FindAlias(ns, alias.profile, alias.name));
    if (!row) {
      return absl::NotFoundError(absl::StrCat("no alias ", alias.name, " in ", alias.profile));
    }
    return tx.DeleteAlias(ns, alias.profile, alias.name);
  });
}

absl::StatusOr<std::vector<JobStore::AliasEntry>> JobStore::ListAliases(
    std::string_view name_space, std::string_view profile, const AliasKey& after, int limit) {
  std::vector<AliasEntry> out;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, reader.FindNamespace(name_space));
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<AliasRow> rows,
                            reader.ListAliases(ns, profile, after.profile, after.name, limit));
    for (const AliasRow& row : rows) {
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> job, reader.FindJob(row.job));
      if (job) out.push_back({{row.profile, row.name}, job->key});
    }
    return absl::OkStatus();
  }));
  return out;
}

}  // namespace tiffin::server
