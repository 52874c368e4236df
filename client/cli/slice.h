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

// A slice of one array: which elements, and the shortest range of bytes that holds them all.
class Selection {
 public:
  // The slice of an array of that shape and element size, by numpy's rules: stops beyond the end
  // are cut, missing dimensions are taken whole. INVALID_ARGUMENT: more items than dimensions, or an
  // index beyond the end.
  static absl::StatusOr<Selection> Make(const std::vector<SliceItem>& items, const Shape& shape,
                                        uint64_t element_bytes);

  // Of the selected array; an index takes its dimension away.
  const Shape& shape() const { return shape_; }
  uint64_t offset() const { return offset_; }
  uint64_t length() const { return length_; }  // 0: nothing is selected

  // The selected elements in C order, out of the bytes [offset, offset + length) of the whole array.
  std::string Gather(std::string_view range) const;

 private:
  struct Dimension {
    uint64_t count;
    uint64_t stride;  // bytes
  };
  Shape shape_;
  std::vector<Dimension> dimensions_;  // of the whole array, indexed ones with count 1
  uint64_t element_bytes_ = 0;
  uint64_t offset_ = 0;
  uint64_t length_ = 0;
};

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_SLICE_H_
