// StoreResult: who may store what, when (DESIGN.md 5).
#include <utility>

#include "common/cbor.h"
#include "common/json.h"
#include "common/status.h"
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

absl::Status NotLive(std::string_view what) {
  return absl::FailedPreconditionError(
      absl::StrCat("lease: ", ToAbsl(what), " can be stored only under the live lease of the job"));
}

// Whether a value may be stored now; the lease is the job's live one, if any.
absl::Status CheckValueAllowed(const JobRow& job, const std::optional<LeaseRow>& lease,
                               const StoreRequest& request) {
  if (lease && EqualInConstantTime(lease->lease_id, request.lease_id)) {
    if (request.epoch == 0 || request.epoch == lease->epoch) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat("epoch: ", request.epoch,
                                                      ", the lease is of epoch ", lease->epoch));
  }
  if (request.epoch != 0) {
    if (request.epoch > job.epoch) {
      return absl::FailedPreconditionError(
          absl::StrCat("epoch: ", request.epoch, " was never granted for this job"));
    }
    if (request.epoch < job.valid_from) {
      return absl::FailedPreconditionError(absl::StrCat(
          "epoch: ", request.epoch, " is stale: the job was invalidated at ", job.valid_from));
    }
    return absl::OkStatus();  // a holder whose lease lapsed comes late
  }
  if (lease) {
    return absl::FailedPreconditionError(
        "lease: somebody else computes this job now; a value without a lease is accepted when "
        "nobody does");
  }
  return absl::OkStatus();
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

  std::optional<JobRow> fresh;
  if (!request.job.empty()) {
    TIFFIN_ASSIGN_OR_RETURN(auto job, ReadJob(request.job));
    if (request.key && *request.key != job.first.key) {
      return absl::InvalidArgumentError(
          absl::StrCat("key: the job's key is ", job.first.key.ToText()));
    }
    request.key = job.first.key;
    in->blobs.insert(in->blobs.end(), job.second.blobs.begin(), job.second.blobs.end());
    fresh = std::move(job.first);
  }
  // A refusal that leaves evidence is committed all the same.
  absl::Status refused;
  TIFFIN_RETURN_IF_ERROR(Change([&](JobTransaction& tx, Effects& effects) {
    *answer = StoreAnswer();
    refused = absl::OkStatus();
    return StoreIn(tx, effects, caller, request, *in, result, fresh, answer, &refused);
  }));
  if (refused.ok()) ++counters_.stored;
  return refused;
}

absl::Status JobStore::StoreIn(JobTransaction& tx, Effects& effects, const CallerInfo& caller,
                               const StoreRequest& request, const TakenIn& in,
                               const ResultRow& result, const std::optional<JobRow>& fresh,
                               StoreAnswer* answer, absl::Status* refused) {
  TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.EnsureNamespace(caller.name_space));
  SessionRow session = caller.session;
  session.namespace_id = ns;
  TIFFIN_ASSIGN_OR_RETURN(const RowId session_id, tx.EnsureSession(session));
  std::optional<JobRow> job;
  if (request.key) {
    TIFFIN_ASSIGN_OR_RETURN(job, tx.FindJob(ns, *request.key));
    if (!job && fresh) {
      job = fresh;
      job->namespace_id = ns;
      job->session = session_id;
      TIFFIN_ASSIGN_OR_RETURN(job->id, tx.InsertJob(*job));
    }
  } else if (!request.lease_id.empty()) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<LeaseRow> row, tx.FindLeaseById(request.lease_id));
    if (!row) return absl::FailedPreconditionError("lease: not live, and no key is given");
    TIFFIN_ASSIGN_OR_RETURN(job, tx.FindJob(row->job));
    if (job && job->namespace_id != ns) job.reset();
  } else {
    return absl::InvalidArgumentError("key: missing");
  }
  if (!job) {
    return absl::NotFoundError(absl::StrCat(
        "key: no job ", request.key ? request.key->ToText() : "", "; submit it, or send it along"));
  }
  answer->key = job->key;
  answer->digest = result.digest;
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<LeaseRow> lease, tx.FindLease(job->id));
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<ResultRow> before, tx.FindResult(job->id));
  const bool same = before && before->digest == result.digest;

  if (job->state == JobState::kDone) {
    if (same && result.kind == ResultKind::kValue) {
      answer->repeated = true;
      return absl::OkStatus();
    }
    if (result.kind == ResultKind::kValue) {
      TIFFIN_RETURN_IF_ERROR(
          tx.AddEvidence({job->id, result.digest, session_id, clock_->Now()}));
      *refused = absl::AlreadyExistsError(
          absl::StrCat("the job is done with another value: the stored digest is ",
                       before->digest.ToText(), ", that of the record ", result.digest.ToText()));
    } else {
      *refused = absl::AlreadyExistsError("the job is done with a value");
    }
    return absl::OkStatus();
  }
  const bool holds = lease && EqualInConstantTime(lease->lease_id, request.lease_id) &&
                     (request.epoch == 0 || request.epoch == lease->epoch);
  // What a holder sends again because the answer was lost.
  if (same && before->kind == result.kind && result.kind != ResultKind::kValue &&
      request.epoch != 0 && before->epoch == request.epoch) {
    answer->repeated = true;
    return absl::OkStatus();
  }
  if (result.kind == ResultKind::kValue) {
    TIFFIN_RETURN_IF_ERROR(CheckValueAllowed(*job, lease, request));
  } else if (!holds) {
    return NotLive(result.kind == ResultKind::kError ? "an error" : "a workflow");
  }

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
  row.job = job->id;
  row.session = session_id;
  row.epoch = holds ? lease->epoch : request.epoch;
  if (row.kind == ResultKind::kValue) return FinishValue(tx, effects, *job, lease, row, blobs);

  TIFFIN_RETURN_IF_ERROR(tx.PutResult(row));
  if (row.kind == ResultKind::kWorkflow) {
    job->state = JobState::kUnfolding;
    return tx.UpdateJob(*job);
  }
  job->state = JobState::kFailed;
  TIFFIN_RETURN_IF_ERROR(tx.DeleteLease(job->id));
  TIFFIN_RETURN_IF_ERROR(tx.UpdateJob(*job));
  effects.after_commit.push_back(
      [this, id = lease->lease_id] { leases_.Remove(id, Renewal::kLost); });
  TIFFIN_ASSIGN_OR_RETURN(const tiffin::server::StoredResult stored, Dress(tx, row));
  return TellEnding(tx, effects, waiters_, *job, stored, WaitEvent::Kind::kFailed);
}

absl::Status JobStore::FinishValue(JobTransaction& tx, Effects& effects, JobRow job,
                                   const std::optional<LeaseRow>& lease, const ResultRow& result,
                                   const std::vector<RowId>& blobs) {
  const bool keep = !lease || lease->keep;
  job.state = keep ? JobState::kDone : JobState::kAbsent;
  job.link = 0;
  job.losses = 0;
  job.lost_hosts.clear();
  if (keep) {
    TIFFIN_RETURN_IF_ERROR(tx.PutResult(result));
    for (const RowId id : blobs) TIFFIN_RETURN_IF_ERROR(tx.AddUse(job.id, id, BlobUse::kResult));
  } else {
    TIFFIN_RETURN_IF_ERROR(tx.DeleteResult(job.id));
  }
  if (lease) {
    TIFFIN_RETURN_IF_ERROR(tx.DeleteLease(job.id));
    effects.after_commit.push_back(
        [this, id = lease->lease_id] { leases_.Remove(id, Renewal::kDoneElsewhere); });
  }
  TIFFIN_RETURN_IF_ERROR(tx.UpdateJob(job));
  TIFFIN_ASSIGN_OR_RETURN(const tiffin::server::StoredResult stored, Dress(tx, result));
  return TellEnding(tx, effects, waiters_, job, stored, WaitEvent::Kind::kResult);
}

}  // namespace tiffin::server
