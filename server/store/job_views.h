// Look-ups that several rules share: jobs with their leases, links followed, rows dressed for
// answers.
#ifndef TIFFIN_SERVER_STORE_JOB_VIEWS_H_
#define TIFFIN_SERVER_STORE_JOB_VIEWS_H_

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "server/jobs/job_database.h"
#include "server/store/answers.h"
#include "server/store/job_life.h"

namespace tiffin::server {

// A job's rows, from which its life is read.
struct JobInHand {
  JobRow row;  // id 0: not inserted yet
  std::optional<LeaseRow> lease;
  Life life() const;
};

absl::StatusOr<JobInHand> WithLease(JobReader& reader, JobRow row);

// The job whose state counts for `job`: itself, or the end of its chain of links. One that is gone
// counts as absent, with id 0.
absl::StatusOr<JobInHand> EndOf(JobReader& reader, const JobInHand& job);
// The same without the lease.
absl::StatusOr<std::optional<JobRow>> FollowLinks(JobReader& reader, const JobRow& job);

// The job's stored result; `asked` is the job that was asked for.
absl::StatusOr<std::optional<StoredResult>> FindStored(JobReader& reader, const JobRow& job,
                                                       const JobRow& asked);
absl::StatusOr<StoredResult> Dress(JobReader& reader, ResultRow row);
absl::StatusOr<HolderInfo> HolderOf(JobReader& reader, const LeaseRow& lease);

// Jobs that follow `job`, directly or by others.
absl::StatusOr<std::vector<JobRow>> Followers(JobReader& reader, RowId job);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_JOB_VIEWS_H_
