#include "server/store/damaged.h"

#include <algorithm>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "common/status.h"

namespace tiffin::server {
namespace {
constexpr char kDamagedJob[] = "tiffin/damaged-job";  // a payload of statuses: the row's number
}  // namespace

absl::Status CheckResult(const ResultRow& result) {
  if (!result.damaged) return absl::OkStatus();
  absl::Status status =
      absl::DataLossError(StrCat("the result in row ", result.job, " differs from its checksum"));
  status.SetPayload(kDamagedJob, absl::Cord(StrCat(result.job)));
  return status;
}

absl::StatusOr<std::optional<JobRow>> FindSoundJob(JobReader& reader, RowId id) {
  absl::StatusOr<std::optional<JobRow>> job = reader.FindJob(id);
  if (IsDamagedJobRow(job.status())) return std::nullopt;
  return job;
}

absl::StatusOr<std::optional<AliasRow>> FindSoundAlias(JobReader& reader, RowId namespace_id,
                                                       std::string_view profile,
                                                       std::string_view name) {
  TIFFIN_ASSIGN_OR_RETURN(std::optional<AliasRow> row,
                          reader.FindAlias(namespace_id, profile, name));
  if (row && row->damaged) {
    return absl::DataLossError(StrCat("the row of alias ", name, " in ", profile,
                                      " differs from its checksum: set the alias again"));
  }
  return row;
}

RowId DamagedJobOf(const absl::Status& status) {
  RowId job = 0;
  const auto payload = status.GetPayload(kDamagedJob);
  return payload && absl::SimpleAtoi(std::string(*payload), &job) ? job : 0;
}

absl::StatusOr<std::vector<RowId>> ResultsNeeding(JobReader& reader, RowId blob) {
  std::vector<RowId> jobs;
  std::vector<RowId> blobs{blob};  // it, and the values that hold it, through others too
  for (size_t i = 0; i < blobs.size(); ++i) {
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> users,
                            reader.AllJobsUsing(blobs[i], BlobUse::kResult));
    jobs.insert(jobs.end(), users.begin(), users.end());
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> holders, reader.BlobsHolding(blobs[i]));
    for (const RowId holder : holders) {
      if (std::find(blobs.begin(), blobs.end(), holder) == blobs.end()) blobs.push_back(holder);
    }
  }
  std::sort(jobs.begin(), jobs.end());
  jobs.erase(std::unique(jobs.begin(), jobs.end()), jobs.end());
  return jobs;
}

}  // namespace tiffin::server
