// Arrays in HDF5 files on this host, as h5py reads them. Apart from the library
// (`tiffin::client_hdf5`), so that only who wants it links HDF5.
#ifndef TIFFIN_CLIENT_HDF5_ARRAY_H_
#define TIFFIN_CLIENT_HDF5_ARRAY_H_

#include <string>

#include "absl/status/statusor.h"
#include "common/npy.h"

namespace tiffin {

// The dataset of that name, in C order, with the numpy dtype that h5py gives it (a dataset of
// arrays has their dimensions, too). For EncodeOptions::read_hdf5. NOT_FOUND: no such file or
// dataset. INVALID_ARGUMENT: of a type that numpy has not, or that holds pointers (variable length,
// references). DATA_LOSS: HDF5 cannot read it. RESOURCE_EXHAUSTED: it does not fit into memory.
// Threads: one call at a time; HDF5's C++ API is not thread-safe, which this function takes care of
// for itself only.
absl::StatusOr<Array> ReadHdf5Array(const std::string& file, const std::string& dataset);

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_HDF5_ARRAY_H_
