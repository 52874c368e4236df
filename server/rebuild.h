// `tiffin-server --rebuild`: a new database from what is left of the old one and from the packs.
#ifndef TIFFIN_SERVER_REBUILD_H_
#define TIFFIN_SERVER_REBUILD_H_

#include <filesystem>
#include <ostream>

#include "absl/status/status.h"

namespace tiffin::server {

// Offline: takes DATA/LOCK. The old database stays beside the new one, as `tiffin.db.damaged-TIME`.
// Says what it did on `out`. The new one takes the old one's place only when it is whole and
// synced.
absl::Status RebuildDatabase(const std::filesystem::path& data, bool allow_network,
                             std::ostream& out);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_REBUILD_H_
