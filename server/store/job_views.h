// Look-ups that several rules share: following links, and rows dressed for answers.
#ifndef TIFFIN_SERVER_STORE_JOB_VIEWS_H_
#define TIFFIN_SERVER_STORE_JOB_VIEWS_H_

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "server/jobs/job_database.h"
#include "server/store/answers.h"

namespace tiffin::server {

// The job whose state counts for `job`: itself, or the end of its chain of links. nullopt if the
// chain ends in a job that is gone.
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
