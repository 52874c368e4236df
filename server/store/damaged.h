// How the index says that a blob is damaged: its bytes are set aside, served to nobody, until it is put
// again. Stored: a '!' before the location.
#ifndef TIFFIN_SERVER_STORE_DAMAGED_H_
#define TIFFIN_SERVER_STORE_DAMAGED_H_

#include <string>
#include <string_view>

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

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_DAMAGED_H_
