// Hyperslabs: regular selections of an n-dimensional array, in the sense of HDF5 (start, count and
// stride per dimension), and where their bytes lie in the array.
#ifndef TIFFIN_COMMON_SLAB_H_
#define TIFFIN_COMMON_SLAB_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "common/npy.h"

namespace tiffin {

// Elements start, start + stride, … of one dimension, `count` of them.
struct SlabDimension {
  int64_t start = 0;
  int64_t count = 0;  // 0: nothing is selected
  int64_t stride = 1;
};

// A selection of an array in C order, itself in C order. Immutable.
class Slab {
 public:
  // One entry of `dimensions` for each of `shape`, whose array is of a size that ArrayBytes allows.
  // INVALID_ARGUMENT: another number of dimensions, a negative start or count, a stride below 1;
  // OUT_OF_RANGE: an element beyond the array. The message begins with the dimension: `[1]: …`.
  static absl::StatusOr<Slab> Make(const Shape& shape, uint64_t item_bytes,
                                   std::span<const SlabDimension> dimensions);
  // All of the array.
  static Slab Whole(const Shape& shape, uint64_t item_bytes);

  const Shape& shape() const { return shape_; }
  // Of all that is selected.
  uint64_t bytes() const { return bytes_; }
  // The selection consists of runs of this many bytes that lie together in the array.
  uint64_t run_bytes() const { return run_bytes_; }

  // Calls `run(array_offset, length)`, in bytes, for each run that the bytes [offset, offset +
  // length) of the selection touch, in order; the range lies within the selection. The first and
  // the last may be parts of a run. Neither allocates nor locks.
  template <typename Run>
  void ForRuns(uint64_t offset, uint64_t length, Run&& run) const;

 private:
  struct Step {
    uint64_t count;
    uint64_t bytes;  // from one to the next, in the array
  };

  Shape shape_;
  uint64_t bytes_ = 0;
  uint64_t first_ = 0;  // array offset of the first byte selected
  uint64_t run_bytes_ = 0;
  std::vector<Step> steps_;  // how runs follow one another, outer dimensions first
};

template <typename Run>
void Slab::ForRuns(uint64_t offset, uint64_t length, Run&& run) const {
  if (length == 0) return;
  uint64_t within = offset % run_bytes_;
  uint64_t number = offset / run_bytes_;
  uint64_t at = first_;
  std::array<uint64_t, kMaxRank> index;
  for (size_t i = steps_.size(); i-- > 0;) {
    index[i] = number % steps_[i].count;
    number /= steps_[i].count;
    at += index[i] * steps_[i].bytes;
  }
  while (true) {
    const uint64_t part = std::min(length, run_bytes_ - within);
    run(at + within, part);
    length -= part;
    if (length == 0) return;
    within = 0;
    for (size_t i = steps_.size(); i-- > 0;) {
      at += steps_[i].bytes;
      if (++index[i] < steps_[i].count) break;
      at -= steps_[i].bytes * steps_[i].count;
      index[i] = 0;
    }
  }
}

}  // namespace tiffin

#endif  // TIFFIN_COMMON_SLAB_H_
