// What an HDF5 file of this server's says of its datasets. For offline use: reads metadata that may
// be damaged.
#ifndef TIFFIN_SERVER_BLOBS_HDF5_LISTING_H_
#define TIFFIN_SERVER_BLOBS_HDF5_LISTING_H_

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/blobs/hdf5_packs.h"

namespace tiffin::server {

struct ListedDataset {
  DatasetSpec spec;     // its dtype is empty if the file does not say
  uint64_t offset = 0;  // of its bytes in the file; 0 for one without bytes
};

// DATA_LOSS if the file cannot be read as HDF5.
absl::StatusOr<std::vector<ListedDataset>> ListHdf5File(const std::filesystem::path& file);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_HDF5_LISTING_H_
