#include "server/store/job_views.h"

#include <set>
#include <utility>

#include "common/status.h"
#include "server/store/damaged.h"

namespace tiffin::server {
namespace {
// Link refuses loops, so this only bounds what a damaged database could cost.
constexpr int kMaxChain = 100'000;
}  // namespace

Life JobInHand::life() const {
  return {.state = row.state,
          .epoch = row.epoch,
          .valid_from = row.valid_from,
          .losses = row.losses,
          .leased = lease.has_value(),
          .keep = row.keep,
          .tombstone = row.tombstone};
}

absl::StatusOr<JobInHand> WithLease(JobReader& reader, JobRow row) {
  JobInHand job{std::move(row), std::nullopt};
  // No other state has one.
  if (job.row.state == JobState::kLeased || job.row.state == JobState::kUnfolding) {
    TIFFIN_ASSIGN_OR_RETURN(job.lease, reader.FindLease(job.row.id));
  }
  return job;
}

absl::StatusOr<JobInHand> EndOf(JobReader& reader, const JobInHand& job) {
  if (job.row.state != JobState::kLinked) return job;
  TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> end, FollowLinks(reader, job.row));
  if (!end) return JobInHand();
  return WithLease(reader, *std::move(end));
}

absl::StatusOr<std::optional<JobRow>> FollowLinks(JobReader& reader, const JobRow& job) {
  std::optional<JobRow> at = job;
  for (int i = 0; at && at->state == JobState::kLinked; ++i) {
    if (i == kMaxChain) return absl::DataLossError("a chain of links without end");
    TIFFIN_ASSIGN_OR_RETURN(at, reader.FindJob(at->link));
  }
  return at;
}

absl::StatusOr<StoredResult> Dress(JobReader& reader, ResultRow row) {
  StoredResult result{std::move(row), {}, {}, {}};
  if (result.row.session != 0) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<SessionRow> session,
                            reader.FindSession(result.row.session));
    if (session) {
      result.session = session->token;
      result.host = session->host;
    }
  }
  return result;
}

absl::StatusOr<std::optional<StoredResult>> FindStored(JobReader& reader, const JobRow& job,
                                                       const JobRow& asked) {
  TIFFIN_ASSIGN_OR_RETURN(std::optional<ResultRow> row, reader.FindResult(job.id));
  if (!row) return std::nullopt;
  TIFFIN_RETURN_IF_ERROR(CheckResult(*row));
  TIFFIN_ASSIGN_OR_RETURN(StoredResult result, Dress(reader, *std::move(row)));
  if (job.id != asked.id) result.linked_to = job.key;
  return result;
}

absl::StatusOr<HolderInfo> HolderOf(JobReader& reader, const LeaseRow& lease) {
  HolderInfo holder{{}, lease.granted, lease.epoch};
  if (lease.session != 0) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<SessionRow> session,
                            reader.FindSession(lease.session));
    if (session) holder.session = *session;
  }
  return holder;
}

absl::StatusOr<std::vector<JobRow>> Followers(JobReader& reader, RowId job) {
  std::vector<JobRow> out;
  std::vector<RowId> todo{job};
  std::set<RowId> seen{job};
  while (!todo.empty()) {
    const RowId at = todo.back();
    todo.pop_back();
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> next, reader.JobsLinkedTo(at));
    for (const RowId id : next) {
      if (!seen.insert(id).second) continue;
      TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> row, FindSoundJob(reader, id));
      if (!row) continue;
      out.push_back(*std::move(row));
      todo.push_back(id);
    }
  }
  return out;
}

}  // namespace tiffin::server
