// Damage, as the rows tell it.
#ifndef TIFFIN_SERVER_STORE_DAMAGED_H_
#define TIFFIN_SERVER_STORE_DAMAGED_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/jobs/job_database.h"

namespace tiffin::server {

// A damaged blob's bytes are set aside, served to nobody, until it is put again. Stored: a '!'
// before the location.
inline bool IsDamaged(const BlobRow& blob) { return blob.location.starts_with('!'); }
inline std::string DamagedLocation(const BlobRow& blob) {
  return IsDamaged(blob) ? blob.location : "!" + blob.location;
}
// The pack of a location, damaged or not.
inline std::string_view WithoutDamage(std::string_view pack) {
  return pack.starts_with('!') ? pack.substr(1) : pack;
}

// How the packs of damaged blobs begin, as the index has them.
inline constexpr std::string_view kDamagedPacks = "!";

// The job, as one of several: nullopt also if its row differs from its checksum.
absl::StatusOr<std::optional<JobRow>> FindSoundJob(JobReader& reader, RowId id);

// DATA_LOSS if its row differs from its checksum, until it is set again.
absl::StatusOr<std::optional<AliasRow>> FindSoundAlias(JobReader& reader, RowId namespace_id,
                                                       std::string_view profile,
                                                       std::string_view name);

// DATA_LOSS if the row differs from its checksum; DamagedJobOf then tells its job.
absl::Status CheckResult(const ResultRow& result);
// The job whose stored result is damaged, as the error of an operation says; 0: it says no such
// thing.
RowId DamagedJobOf(const absl::Status& status);

// Jobs whose results need the blob, or a value that holds a ref to it.
absl::StatusOr<std::vector<RowId>> ResultsNeeding(JobReader& reader, RowId blob);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_DAMAGED_H_
