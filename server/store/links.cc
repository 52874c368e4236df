// Link: the job whose result is that of an unfolded workflow.
#include <utility>

#include "common/status.h"
#include "server/store/job_effects.h"
#include "server/store/job_store.h"
#include "server/store/job_views.h"

namespace tiffin::server {
namespace {

absl::Status Refusal(Verdict verdict) {
  switch (verdict) {
    case Verdict::kNotUnfolding:
      return absl::FailedPreconditionError("key: the job is not unfolding a workflow");
    case Verdict::kLoop:
      return absl::FailedPreconditionError("target: the link would close a loop");
    default:
      return absl::FailedPreconditionError("lease: not the live lease of the job");
  }
}

}  // namespace

absl::Status JobStore::Link(const CallerInfo& caller, const Digest& key, std::string_view lease_id,
                            const Digest& target_key) {
  return Change([&](JobTransaction& tx, Effects& effects) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.FindNamespace(caller.name_space));
    TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> row, tx.FindJob(ns, key));
    TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> target_row, tx.FindJob(ns, target_key));
    if (!row) return absl::NotFoundError(absl::StrCat("key: no job ", key.ToText()));
    if (!target_row) {
      return absl::NotFoundError(absl::StrCat("target: no job ", target_key.ToText()));
    }
    TIFFIN_ASSIGN_OR_RETURN(JobInHand job, WithLease(tx, *std::move(row)));
    TIFFIN_ASSIGN_OR_RETURN(const JobInHand target, WithLease(tx, *std::move(target_row)));
    TIFFIN_ASSIGN_OR_RETURN(const JobInHand end, EndOf(tx, target));
    const Claim claim{.holds = job.lease && EqualInConstantTime(job.lease->lease_id, lease_id)};
    const Transition t = LinkTo(job.life(), claim, job.row.link == target.row.id,
                                target.row.id == job.row.id || end.row.id == job.row.id);
    if (t.verdict == Verdict::kRepeated) return absl::OkStatus();
    if (!t.accepted()) return Refusal(t.verdict);
    TIFFIN_RETURN_IF_ERROR(ApplyIn(tx, effects, job, t, {.link = target.row.id}));
    // Those who wait hear how the target stands.
    if (end.row.state == JobState::kDone || end.row.state == JobState::kFailed) {
      TIFFIN_ASSIGN_OR_RETURN(const std::optional<StoredResult> stored,
                              FindStored(tx, end.row, job.row));
      if (!stored) return absl::DataLossError("target: its result is missing");
      return TellEnding(
          tx, effects, job.row, *stored,
          end.row.state == JobState::kDone ? WaitEvent::Kind::kResult : WaitEvent::Kind::kFailed,
          true);
    }
    if (!end.lease) effects.free.push_back({job.row.namespace_id, job.row.key});
    return absl::OkStatus();
  });
}

}  // namespace tiffin::server
