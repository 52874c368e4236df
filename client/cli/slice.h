// numpy's basic slicing, as far as `deref --slice` takes it: non-negative starts, stops and steps.
#ifndef TIFFIN_CLIENT_CLI_SLICE_H_
#define TIFFIN_CLIENT_CLI_SLICE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/npy.h"
#include "common/slab.h"

namespace tiffin::cli {

// One item of a slice: `3`, `2:`, `0:10`, `::2` or `...`.
struct SliceItem {
  enum class Kind { kIndex, kRange, kEllipsis };
  Kind kind = Kind::kRange;
  uint64_t start = 0;            // of a range; or the index
  std::optional<uint64_t> stop;  // absent: to the end
  uint64_t step = 1;
  friend bool operator==(const SliceItem&, const SliceItem&) = default;
};

// Reads `0:10,::2`. INVALID_ARGUMENT naming the item that is wrong.
absl::StatusOr<std::vector<SliceItem>> ParseSlice(std::string_view text);

// A slice of one array.
struct Selection {
  std::vector<SlabDimension> dimensions;  // one for each of the array
  Shape shape;                            // of what is selected: an index takes its dimension away
};

// By numpy's rules: stops beyond the end are cut, missing dimensions are taken whole.
// INVALID_ARGUMENT: more items than dimensions, or an index beyond the end.
absl::StatusOr<Selection> Select(const std::vector<SliceItem>& items, const Shape& shape);

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_SLICE_H_
