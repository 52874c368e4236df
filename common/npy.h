// `.npy` files, header versions 1 to 3 (source: numpy.lib.format), and the blob key.
#ifndef TIFFIN_COMMON_NPY_H_
#define TIFFIN_COMMON_NPY_H_

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/crypto.h"
#include "common/dtype.h"

namespace tiffin {

using Shape = std::vector<uint64_t>;

// The dimensions of an array that tiffin keeps: at most 32, and size in bytes below 2^48.
inline constexpr size_t kMaxRank = 32;
inline constexpr uint64_t kMaxBlobBytes = uint64_t{1} << 48;

// Names a blob: (key, dtype, shape). `dtype` is the name that DTypeName gives.
struct BlobName {
  Digest key;
  std::string dtype;
  Shape shape;

  friend auto operator<=>(const BlobName&, const BlobName&) = default;
  // `4Z8k…= int64 [10]`, for messages.
  std::string ToText() const;
};

// Bytes of an array, checked for overflow, rank and kMaxBlobBytes: INVALID_ARGUMENT.
absl::StatusOr<uint64_t> ArrayBytes(const DType& dtype, const Shape& shape);

// Starts the hash of a blob key: SHA-256(dtype ‖ shape as little-endian int64 ‖ …). The caller adds
// the C-order bytes and finishes it.
Sha256 StartBlobKey(std::string_view dtype_name, const Shape& shape);
// The key of whole bytes.
Digest BlobKey(std::string_view dtype_name, const Shape& shape, std::string_view c_order_bytes);
// The name of plain bytes: a one-dimensional array of |V1.
BlobName BytesBlobName(std::string_view bytes);

// What an `.npy` header says.
struct NpyHeader {
  DType dtype;
  bool fortran_order = false;
  Shape shape;
  size_t data_offset = 0;  // bytes before the array's data
};

// True if the text starts with the magic `\x93NUMPY`.
bool IsNpy(std::string_view bytes);

// Reads the header; `bytes` may be cut after it. INVALID_ARGUMENT naming what is wrong.
absl::StatusOr<NpyHeader> ReadNpyHeader(std::string_view bytes);

// An array in memory: C-order bytes with their dtype's name and shape.
struct Array {
  std::string dtype;
  Shape shape;
  std::string bytes;

  BlobName Name() const { return {BlobKey(dtype, shape, bytes), dtype, shape}; }
};

// Reads a whole `.npy`: exactly the header and the data, brought to C order. INVALID_ARGUMENT if
// cut, too long, of object dtype, or malformed.
absl::StatusOr<Array> ReadNpy(std::string_view bytes);

// The header numpy.save writes for a C-order array of that dtype and shape (version 1.0, or 2.0 or
// 3.0 where numpy would), padded to 64 bytes. `dtype` is a name that ParseDType takes.
absl::StatusOr<std::string> NpyHeaderText(std::string_view dtype_name, const Shape& shape);
// Header and data.
absl::StatusOr<std::string> WriteNpy(const Array& array);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_NPY_H_
