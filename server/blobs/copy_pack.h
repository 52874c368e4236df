// Copies of packs, for backups.
#ifndef TIFFIN_SERVER_BLOBS_COPY_PACK_H_
#define TIFFIN_SERVER_BLOBS_COPY_PACK_H_

#include <cstdint>
#include <filesystem>
#include <functional>

#include "absl/status/status.h"

namespace tiffin::server {

// Makes `to` hold what `from` does, synced; the folder is not. With `link` the two become one file
// if they lie on one file system. `progress` is told the bytes so far, and may end it. NOT_FOUND:
// `from` is gone.
absl::Status CopyPackFile(const std::filesystem::path& from, const std::filesystem::path& to,
                          bool link, const std::function<absl::Status(uint64_t)>& progress);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_COPY_PACK_H_
