// StoreResult: who may store what, when (DESIGN.md 5).
#include <utility>

#include "common/cbor.h"
#include "common/json.h"
#include "common/status.h"
#include "server/store/damaged.h"
#include "server/store/job_effects.h"
#include "server/store/job_store.h"
#include "server/store/job_views.h"

namespace tiffin::server {
namespace {

std::vector<TakenBulk> AsBulk(std::vector<Array> arrays) {
  std::vector<TakenBulk> out;
  for (Array& array : arrays) {
    TakenBulk bulk{std::move(array), {}, {}};
    bulk.name = bulk.array.Name();
    out.push_back(std::move(bulk));
  }
  return out;
}

std::string_view WordOf(ResultKind kind) {
  return kind == ResultKind::kError ? "an error" : "a workflow";
}

// What the caller is told of a verdict that refuses.
absl::Status Refusal(Verdict verdict, const Life& life, const StoreRequest& request,
                     const ResultRow& result, const std::optional<ResultRow>& before) {
  switch (verdict) {
    case Verdict::kOtherValue:
      return absl::AlreadyExistsError(absl::StrCat(
          "the job is done with another value: the stored digest is ",
          before ? before->digest.ToText() : "", ", that of the record ", result.digest.ToText()));
    case Verdict::kDoneBefore:
      return absl::AlreadyExistsError("the job is done with a value");
    case Verdict::kWrongEpoch:
      return absl::FailedPreconditionError(
          absl::StrCat("epoch: ", request.epoch, ", the lease is of epoch ", life.epoch));
    case Verdict::kNeverGranted:
      return absl::FailedPreconditionError(
          absl::StrCat("epoch: ", request.epoch, " was never granted for this job"));
    case Verdict::kStale:
      return absl::FailedPreconditionError(absl::StrCat(
          "epoch: ", request.epoch, " is stale: the job was invalidated at ", life.valid_from));
    case Verdict::kHeldByOther:
      return absl::FailedPreconditionError(
          "lease: somebody else computes this job now; a value without a lease is accepted when "
          "nobody does");
    default:
      return absl::FailedPreconditionError(StrCat(
          "lease: ", WordOf(result.kind), " can be stored only under the live lease of the job"));
  }
}

Transition Judge(const Life& life, const Life& end, const Claim& claim, const ResultRow& result,
                 const std::optional<ResultRow>& before) {
  const bool same = before && before->kind == result.kind && before->digest == result.digest;
  const bool same_epoch = before && claim.epoch != 0 && before->epoch == claim.epoch;
  switch (result.kind) {
    case ResultKind::kValue:
      return StoreValue(life, end, claim, same);
    case ResultKind::kError:
      return StoreError(life, claim, same, same_epoch);
    default:
      return StoreWorkflow(life, claim, same, same_epoch);
  }
}

}  // namespace

// One call, from its arrival to its answer.
struct JobStore::Storing {
  CallerInfo caller;
  StoreRequest request;
  TakenIn in;
  std::vector<TakenBulk> more;  // bulk that came beside the record
  ResultRow result;
  std::optional<PreparedJob> fresh;  // the job that came along
  StoreAnswer answer;
  absl::Status refused;  // a refusal that leaves evidence is committed all the same
};

absl::Status JobStore::PrepareStore(Storing& store) {
  StoreRequest& request = store.request;
  ResultRow& result = store.result;
  if (request.log.size() > options_.limits.max_log_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("log: more than ", options_.limits.max_log_bytes, " bytes"));
  }
  absl::StatusOr<Value> value = ParseJson(request.record, options_.limits.json);
  if (!value.ok()) return Annotate(value.status(), "record");
  request.record = {};  // many calls may wait for the disk: each holds its texts once
  const bool workflow = IsWorkflow(*value);
  result.kind = request.kind.value_or(workflow ? ResultKind::kWorkflow : ResultKind::kValue);
  if (result.kind == ResultKind::kWorkflow && !workflow) {
    return absl::InvalidArgumentError(
        "record: a workflow result is a PromisedObject or Workflow record");
  }
  absl::StatusOr<Digest> digest = ResultDigest(*value);
  if (!digest.ok()) return Annotate(digest.status(), "record");
  result.digest = *digest;
  absl::StatusOr<TakenIn> in = TakeIn(*std::move(value), options_.limits);
  if (!in.ok()) return Annotate(in.status(), "record");
  store.in = *std::move(in);
  store.more = AsBulk(std::move(request.blobs));
  result.record = std::move(store.in.json);
  result.stored = clock_->Now();
  result.retryable = request.retryable;
  result.compute_seconds = request.compute_seconds;
  result.exit_status = request.exit_status;
  result.log = std::move(request.log);
  if (request.job.empty()) return absl::OkStatus();

  TIFFIN_ASSIGN_OR_RETURN(PreparedJob job, Prepare(request.job));
  if (request.key && *request.key != job.row.key) {
    return absl::InvalidArgumentError(absl::StrCat("key: the job's key is ", job.row.key.ToText()));
  }
  request.key = job.row.key;
  TIFFIN_RETURN_IF_ERROR(TakeJobIn(&job));
  store.fresh = std::move(job);
  request.job = {};
  return absl::OkStatus();
}

absl::Status JobStore::MakeStoreDurable(Storing& store) {
  if (absl::Status status = MakeDurable(*blobs_, &store.in); !status.ok()) {
    return Annotate(status, "record");
  }
  if (!store.more.empty()) {
    absl::StatusOr<std::vector<NewBlob>> more = blobs_->MakeDurable(std::move(store.more));
    if (!more.ok()) return Annotate(more.status(), "blobs");
    store.in.blobs.insert(store.in.blobs.end(), more->begin(), more->end());
  }
  return store.fresh ? MakeJobDurable(&*store.fresh) : absl::OkStatus();
}

void JobStore::StoreResult(const CallerInfo& caller, StoreRequest request, const Blocking& blocking,
                           StoreDone done) {
  const auto store = std::make_shared<Storing>();
  store->caller = caller;
  store->request = std::move(request);
  if (const absl::Status status = PrepareStore(*store); !status.ok()) {
    return done(status, store->answer);
  }
  const bool bulk = !store->in.bulk.empty() || !store->more.empty() ||
                    (store->fresh && !store->fresh->in.bulk.empty());
  const auto change = [this, store, blocking, done = std::move(done)] {
    if (const absl::Status status = MakeStoreDurable(*store); !status.ok()) {
      return done(status, store->answer);
    }
    Change(
        [this, store](JobTransaction& tx, Effects& effects) {
          store->answer = StoreAnswer();
          store->refused = absl::OkStatus();
          return StoreIn(tx, effects, *store);
        },
        [this, store, blocking, done](const absl::Status& committed) {
          BlobCatalogue::Settle(committed, store->in.blobs);
          LetGo(std::move(store->in.blobs), blocking);
          if (store->fresh) {
            BlobCatalogue::Settle(committed, store->fresh->in.blobs);
            LetGo(std::move(store->fresh->in.blobs), blocking);
          }
          const absl::Status& status = committed.ok() ? store->refused : committed;
          if (status.ok()) ++counters_.stored;
          done(status, store->answer);
        });
  };
  if (!bulk) return change();
  blocking(change);
}

// The job that a result is stored for; inserted if it came along and is not there.
absl::StatusOr<JobInHand> JobStore::JobToStore(JobTransaction& tx, RowId ns, RowId session,
                                               const StoreRequest& request,
                                               const std::optional<PreparedJob>& fresh) {
  std::optional<JobRow> row;
  if (request.key) {
    // Most stores hold the job's lease, which knows its row: one look-up by a hash less.
    if (const RowId held = request.lease_id.empty() ? 0 : leases_.JobOf(request.lease_id)) {
      TIFFIN_ASSIGN_OR_RETURN(row, tx.FindJob(held));
      if (row && (row->namespace_id != ns || row->key != *request.key)) row.reset();
    }
    if (!row) {
      TIFFIN_ASSIGN_OR_RETURN(row, tx.FindJob(ns, *request.key));
    }
    if (!row && fresh) {
      row = fresh->row;
      row->namespace_id = ns;
      row->session = session;
      TIFFIN_ASSIGN_OR_RETURN(row->id, tx.InsertJob(*row));
      Missing missing;  // of the arguments: whoever stores a result has no need of them
      TIFFIN_RETURN_IF_ERROR(EnterArguments(tx, *row, fresh->in, &missing));
    }
  } else if (!request.lease_id.empty()) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<LeaseRow> lease,
                            tx.FindLeaseById(request.lease_id));
    if (!lease) return absl::FailedPreconditionError("lease: not live, and no key is given");
    TIFFIN_ASSIGN_OR_RETURN(row, tx.FindJob(lease->job));
    if (row && row->namespace_id != ns) row.reset();
  } else {
    return absl::InvalidArgumentError("key: missing");
  }
  if (!row) {
    return absl::NotFoundError(absl::StrCat(
        "key: no job ", request.key ? request.key->ToText() : "", "; submit it, or send it along"));
  }
  return WithLease(tx, *std::move(row));
}

absl::Status JobStore::StoreIn(JobTransaction& tx, Effects& effects, Storing& store) {
  const StoreRequest& request = store.request;
  ResultRow& result = store.result;
  StoreAnswer& answer = store.answer;
  TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.EnsureNamespace(store.caller.name_space));
  SessionRow session = store.caller.session;
  session.namespace_id = ns;
  TIFFIN_ASSIGN_OR_RETURN(const RowId session_id, tx.EnsureSession(session));
  TIFFIN_ASSIGN_OR_RETURN(JobInHand job, JobToStore(tx, ns, session_id, request, store.fresh));
  answer.key = job.row.key;
  answer.digest = result.digest;
  // A value is compared with what is read, maybe through links; an error or a workflow is the job's
  // own.
  TIFFIN_ASSIGN_OR_RETURN(const JobInHand end, EndOf(tx, job));
  const bool through_link =
      result.kind == ResultKind::kValue && StandingOf(end.life()) == Standing::kDone;
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<ResultRow> before,
                          tx.FindResult(through_link ? end.row.id : job.row.id));
  if (before) TIFFIN_RETURN_IF_ERROR(CheckResult(*before));
  const Claim claim{
      .holds = job.lease && EqualInConstantTime(job.lease->lease_id, request.lease_id),
      .epoch = request.epoch};
  const Life life = job.life();
  const Transition t = Judge(life, end.life(), claim, result, before);
  if (t.verdict == Verdict::kRepeated) {
    answer.repeated = true;
    return absl::OkStatus();
  }
  if (t.verdict == Verdict::kOtherValue) {
    TIFFIN_RETURN_IF_ERROR(tx.AddEvidence({job.row.id, result.digest, session_id, clock_->Now()}));
    store.refused = Refusal(t.verdict, life, request, result, before);
    return absl::OkStatus();
  }
  if (!t.accepted()) return Refusal(t.verdict, life, request, result, before);

  std::vector<RowId> blobs;
  for (const NewBlob& blob : store.in.blobs) {
    TIFFIN_ASSIGN_OR_RETURN(const RowId id, BlobCatalogue::Enter(tx, ns, blob, clock_->Now()));
    blobs.push_back(id);
    answer.blobs.push_back(blob.name);
  }
  TIFFIN_ASSIGN_OR_RETURN(answer.missing,
                          BlobCatalogue::FindMissing(tx, ns, store.in.refs, &blobs));
  if (!answer.missing.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("record: ", answer.missing.ToText()));
  }
  result.job = job.row.id;
  result.session = session_id;
  result.epoch = claim.holds ? job.lease->epoch : request.epoch;
  if (t.next.leased) {  // a workflow: its holder got on
    effects.after_commit.push_back([this, id = job.lease->lease_id] { leases_.NoteProgress(id); });
  }
  return ApplyIn(tx, effects, job, t, {.result = &result, .blobs = &blobs});
}

}  // namespace tiffin::server
