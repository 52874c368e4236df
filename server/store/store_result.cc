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

bool IsWorkflow(const Value& value) {
  return IsRecordOf(value, kObjectType, kPromisedObjectClass) ||
         IsRecordOf(value, kObjectType, kWorkflowClass);
}

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
      return absl::AlreadyExistsError(
          absl::StrCat("the job is done with another value: the stored digest is ",
                       before ? before->digest.ToText() : "", ", that of the record ",
                       result.digest.ToText()));
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
      return absl::FailedPreconditionError(
          StrCat("lease: ", WordOf(result.kind),
                 " can be stored only under the live lease of the job"));
  }
}

Transition Judge(const Life& life, const Claim& claim, const ResultRow& result,
                 const std::optional<ResultRow>& before) {
  const bool same = before && before->kind == result.kind && before->digest == result.digest;
  const bool same_epoch = before && claim.epoch != 0 && before->epoch == claim.epoch;
  switch (result.kind) {
    case ResultKind::kValue:
      return StoreValue(life, claim, same);
    case ResultKind::kError:
      return StoreError(life, claim, same, same_epoch);
    default:
      return StoreWorkflow(life, claim, same, same_epoch);
  }
}

}  // namespace

absl::Status JobStore::StoreResult(const CallerInfo& caller, StoreRequest request,
                                   StoreAnswer* answer) {
  if (request.log.size() > options_.limits.max_log_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("log: more than ",
                                                   options_.limits.max_log_bytes, " bytes"));
  }
  absl::StatusOr<Value> value = ParseJson(request.record, options_.limits.json);
  if (!value.ok()) return Annotate(value.status(), "record");
  const bool workflow = IsWorkflow(*value);
  ResultRow result;
  result.kind = request.kind.value_or(workflow ? ResultKind::kWorkflow : ResultKind::kValue);
  if (result.kind == ResultKind::kWorkflow && !workflow) {
    return absl::InvalidArgumentError(
        "record: a workflow result is a PromisedObject or Workflow record");
  }
  absl::StatusOr<Digest> digest = ResultDigest(*value);
  if (!digest.ok()) return Annotate(digest.status(), "record");
  result.digest = *digest;
  absl::StatusOr<TakenIn> in = TakeIn(*std::move(value), options_.limits, *blobs_);
  if (!in.ok()) return Annotate(in.status(), "record");
  absl::StatusOr<std::vector<NewBlob>> extra = blobs_->MakeDurable(AsBulk(std::move(request.blobs)));
  if (!extra.ok()) return Annotate(extra.status(), "blobs");
  in->blobs.insert(in->blobs.end(), extra->begin(), extra->end());
  result.record = in->json;
  result.stored = clock_->Now();
  result.retryable = request.retryable;
  result.compute_seconds = request.compute_seconds;
  result.exit_status = request.exit_status;
  result.log = std::move(request.log);

  std::optional<PreparedJob> fresh;
  if (!request.job.empty()) {
    TIFFIN_ASSIGN_OR_RETURN(PreparedJob job, Prepare(request.job));
    if (request.key && *request.key != job.row.key) {
      return absl::InvalidArgumentError(
          absl::StrCat("key: the job's key is ", job.row.key.ToText()));
    }
    request.key = job.row.key;
    TIFFIN_RETURN_IF_ERROR(TakeJobIn(&job));
    fresh = std::move(job);
  }
  // A refusal that leaves evidence is committed all the same.
  absl::Status refused;
  const absl::Status committed = Change([&](JobTransaction& tx, Effects& effects) {
    *answer = StoreAnswer();
    refused = absl::OkStatus();
    return StoreIn(tx, effects, caller, request, *in, result, fresh, answer, &refused);
  });
  BlobCatalogue::Settle(committed, in->blobs);
  if (fresh) BlobCatalogue::Settle(committed, fresh->in.blobs);
  TIFFIN_RETURN_IF_ERROR(committed);
  if (refused.ok()) ++counters_.stored;
  return refused;
}

// The job that a result is stored for; inserted if it came along and is not there.
absl::StatusOr<JobInHand> JobStore::JobToStore(JobTransaction& tx, RowId ns, RowId session,
                                               const StoreRequest& request,
                                               const std::optional<PreparedJob>& fresh) {
  std::optional<JobRow> row;
  if (request.key) {
    TIFFIN_ASSIGN_OR_RETURN(row, tx.FindJob(ns, *request.key));
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

absl::Status JobStore::StoreIn(JobTransaction& tx, Effects& effects, const CallerInfo& caller,
                               const StoreRequest& request, const TakenIn& in,
                               const ResultRow& result, const std::optional<PreparedJob>& fresh,
                               StoreAnswer* answer, absl::Status* refused) {
  TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.EnsureNamespace(caller.name_space));
  SessionRow session = caller.session;
  session.namespace_id = ns;
  TIFFIN_ASSIGN_OR_RETURN(const RowId session_id, tx.EnsureSession(session));
  TIFFIN_ASSIGN_OR_RETURN(JobInHand job, JobToStore(tx, ns, session_id, request, fresh));
  answer->key = job.row.key;
  answer->digest = result.digest;
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<ResultRow> before, tx.FindResult(job.row.id));
  if (before) TIFFIN_RETURN_IF_ERROR(CheckResult(*before));
  const Claim claim{
      .holds = job.lease && EqualInConstantTime(job.lease->lease_id, request.lease_id),
      .epoch = request.epoch};
  const Life life = job.life();
  const Transition t = Judge(life, claim, result, before);
  if (t.verdict == Verdict::kRepeated) {
    answer->repeated = true;
    return absl::OkStatus();
  }
  if (t.verdict == Verdict::kOtherValue) {
    TIFFIN_RETURN_IF_ERROR(
        tx.AddEvidence({job.row.id, result.digest, session_id, clock_->Now()}));
    *refused = Refusal(t.verdict, life, request, result, before);
    return absl::OkStatus();
  }
  if (!t.accepted()) return Refusal(t.verdict, life, request, result, before);

  std::vector<RowId> blobs;
  for (const NewBlob& blob : in.blobs) {
    TIFFIN_ASSIGN_OR_RETURN(const RowId id, BlobCatalogue::Enter(tx, ns, blob, clock_->Now()));
    blobs.push_back(id);
    answer->blobs.push_back(blob.name);
  }
  TIFFIN_ASSIGN_OR_RETURN(answer->missing, BlobCatalogue::FindMissing(tx, ns, in.refs, &blobs));
  if (!answer->missing.empty()) {
    return absl::FailedPreconditionError(absl::StrCat("record: ", answer->missing.ToText()));
  }
  ResultRow row = result;
  row.job = job.row.id;
  row.session = session_id;
  row.epoch = claim.holds ? job.lease->epoch : request.epoch;
  if (t.next.leased) {  // a workflow: its holder got on
    effects.after_commit.push_back(
        [this, id = job.lease->lease_id] { leases_.NoteProgress(id); });
  }
  return ApplyIn(tx, effects, job, t, {.result = &row, .blobs = &blobs});
}

}  // namespace tiffin::server
