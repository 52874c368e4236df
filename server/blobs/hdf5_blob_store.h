// Blobs in HDF5 files below DATA (server/DESIGN.md: On disk).
#ifndef TIFFIN_SERVER_BLOBS_HDF5_BLOB_STORE_H_
#define TIFFIN_SERVER_BLOBS_HDF5_BLOB_STORE_H_

#include <cstdint>
#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"
#include "server/blobs/blob_store.h"
#include "server/blobs/upload_files.h"

namespace tiffin::server {

struct Hdf5BlobStoreOptions {
  std::filesystem::path data;  // holds packs/, open/, uploads/ and tmp/
  uint64_t open_pack_bytes = uint64_t{64} << 20;
  size_t max_mapped = 1024;  // packs kept mapped for reading
  UploadLimits uploads;
};

// Makes the folders that are absent.
absl::StatusOr<std::unique_ptr<BlobStore>> OpenHdf5BlobStore(const Hdf5BlobStoreOptions& options);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_HDF5_BLOB_STORE_H_
