#include "common/slab.h"

#include "common/status.h"

namespace tiffin {
namespace {

absl::Status CheckDimension(const SlabDimension& selected, uint64_t extent) {
  if (selected.start < 0) {
    return absl::InvalidArgumentError(StrCat("start ", selected.start, " is negative"));
  }
  if (selected.count < 0) {
    return absl::InvalidArgumentError(StrCat("count ", selected.count, " is negative"));
  }
  if (selected.stride < 1) {
    return absl::InvalidArgumentError(StrCat("stride ", selected.stride, ", the least is 1"));
  }
  const uint64_t start = selected.start, count = selected.count, stride = selected.stride;
  if (start > extent || (count > 0 && start == extent)) {
    return absl::OutOfRangeError(
        StrCat("start ", start, ", the dimension has ", extent, " elements"));
  }
  // start + (count - 1) * stride < extent, without overflow.
  if (count > 1 && (extent - 1 - start) / stride < count - 1) {
    return absl::OutOfRangeError(StrCat("start ", start, ", count ", count, " and stride ", stride,
                                        " go beyond the ", extent, " elements of the dimension"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Slab> Slab::Make(const Shape& shape, uint64_t item_bytes,
                                std::span<const SlabDimension> dimensions) {
  if (dimensions.size() != shape.size()) {
    return absl::InvalidArgumentError(StrCat(
        dimensions.size(), " dimensions are selected from, the ", "array has ", shape.size()));
  }
  Slab slab;
  uint64_t step = item_bytes;  // of the dimension at hand, in the array
  slab.bytes_ = slab.run_bytes_ = item_bytes;
  bool together = true;  // what is selected of the dimensions seen lies together
  for (size_t i = shape.size(); i-- > 0;) {
    const SlabDimension& selected = dimensions[i];
    const absl::Status status = CheckDimension(selected, shape[i]);
    if (!status.ok()) return Annotate(status, StrCat("[", i, "]"));
    const uint64_t count = selected.count, stride = selected.stride;
    slab.shape_.insert(slab.shape_.begin(), count);
    slab.bytes_ *= count;
    slab.first_ += selected.start * step;
    if (together && (stride == 1 || count <= 1)) {
      slab.run_bytes_ *= count;
    } else {
      slab.steps_.insert(slab.steps_.begin(), Step{count, stride * step});
    }
    together = together && count == shape[i];
    step *= shape[i];
  }
  return slab;
}

Slab Slab::Whole(const Shape& shape, uint64_t item_bytes) {
  std::vector<SlabDimension> all;
  for (const uint64_t extent : shape) all.push_back({0, static_cast<int64_t>(extent), 1});
  return *Make(shape, item_bytes, all);
}

}  // namespace tiffin
