// How the index says that a blob is damaged: its bytes are set aside, served to nobody, until it is put
// again. Stored: a '!' before the location.
#ifndef TIFFIN_SERVER_STORE_DAMAGED_H_
#define TIFFIN_SERVER_STORE_DAMAGED_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/jobs/job_database.h"

namespace tiffin::server {

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

// Jobs whose results need the blob, or a value that holds a ref to it.
absl::StatusOr<std::vector<RowId>> ResultsNeeding(JobReader& reader, RowId blob);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_DAMAGED_H_
