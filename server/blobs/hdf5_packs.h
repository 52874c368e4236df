// Makes HDF5 files whose bytes others write: only metadata passes through the HDF5 library here.
#ifndef TIFFIN_SERVER_BLOBS_HDF5_PACKS_H_
#define TIFFIN_SERVER_BLOBS_HDF5_PACKS_H_

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/npy.h"

namespace tiffin::server {

// A dataset to be made.
struct DatasetSpec {
  std::string name;
  std::string dtype;  // as ParseDType takes it
  Shape shape;
};

// Makes `file` with the datasets, contiguous and allocated, their bytes not written; returns the
// offset of each one's bytes in the file (0 for one without bytes). Types are those that h5py would
// have written: bool as an enum, complex as a compound of r and i, structured as a compound, S as
// fixed strings; what HDF5 has no type for (U, datetime64, void, longdouble) is opaque. The
// attribute `dtype` holds the name.
//
// Threads: any; calls are made one at a time, since HDF5 has one lock and its C++ classes have
// none.
absl::StatusOr<std::vector<uint64_t>> MakeHdf5File(const std::filesystem::path& file,
                                                   std::span<const DatasetSpec> datasets);

// Gives the only dataset of a file that nobody else has seen yet its name.
absl::Status RenameDataset(const std::filesystem::path& file, std::string_view from,
                           std::string_view to);

// Whether the file holds the dataset, its bytes at `offset`, as MakeHdf5File left it. DATA_LOSS if
// not.
absl::Status CheckHdf5File(const std::filesystem::path& file, const DatasetSpec& dataset,
                           uint64_t offset);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_HDF5_PACKS_H_
