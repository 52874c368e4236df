// Copies of the data folder, for Admin.Backup.
#ifndef TIFFIN_SERVER_SERVICE_BACKUPS_H_
#define TIFFIN_SERVER_SERVICE_BACKUPS_H_

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace tiffin::server {

class Backups {
 public:
  virtual ~Backups() = default;
  // Bytes so far, of all; false ends it.
  using Progress = std::function<bool(uint64_t bytes, uint64_t total)>;
  // Makes a copy of that name; what was acknowledged before the call is in it. Returns its path.
  // The errors of admin.proto: Backup; CANCELLED if `progress` ended it. Nothing stays of a copy
  // that failed.
  virtual absl::StatusOr<std::string> Make(std::string_view name, const Progress& progress) = 0;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_BACKUPS_H_
