// Hyperslabs: what is refused, and where the bytes of a selection lie, agrees with arithmetic of
// 128 bits, element by element, for small arrays and for the largest that are allowed.
#include <algorithm>
#include <vector>

#include "common/dtype.h"
#include "common/npy.h"
#include "common/slab.h"
#include "common/strings.h"
#include "tests/fuzz/fuzzing.h"

namespace {

using tiffin::Shape;
using tiffin::Slab;
using tiffin::SlabDimension;
__extension__ using Wide = unsigned __int128;

// Numbers out of the input: small ones mostly, those around a power of two, or any of eight bytes.
class Numbers {
 public:
  Numbers(const uint8_t* data, size_t size) : data_(data), left_(size) {}

  uint64_t Byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  uint64_t Next() {
    const uint64_t kind = Byte();
    if (kind < 0xe0) return kind % 16;
    if (kind < 0xf0) return (uint64_t{1} << (Byte() % 64)) + kind - 0xe8;
    uint64_t number = 0;
    for (int i = 0; i < 8; ++i) number = number << 8 | Byte();
    return number;
  }

 private:
  const uint8_t* data_;
  size_t left_;
};

// OK, or the code that must be answered.
absl::StatusCode Expected(const Shape& shape, const std::vector<SlabDimension>& dimensions) {
  if (dimensions.size() != shape.size()) return absl::StatusCode::kInvalidArgument;
  for (size_t i = shape.size(); i-- > 0;) {
    const SlabDimension& d = dimensions[i];
    if (d.start < 0 || d.count < 0 || d.stride < 1) return absl::StatusCode::kInvalidArgument;
    const Wide start = static_cast<uint64_t>(d.start), count = static_cast<uint64_t>(d.count);
    const Wide end = count == 0 ? start : start + (count - 1) * static_cast<uint64_t>(d.stride) + 1;
    if (end > shape[i]) return absl::StatusCode::kOutOfRange;
  }
  return absl::StatusCode::kOk;
}

// Where byte `at` of the selection lies in the array.
Wide PlaceOf(uint64_t at, const Shape& shape, uint64_t item,
             const std::vector<SlabDimension>& dimensions) {
  Wide place = at % item, step = item;
  uint64_t element = at / item;
  for (size_t i = shape.size(); i-- > 0;) {
    const uint64_t count = static_cast<uint64_t>(dimensions[i].count);
    const Wide index = static_cast<uint64_t>(dimensions[i].start) +
                       Wide{element % count} * static_cast<uint64_t>(dimensions[i].stride);
    place += index * step;
    step *= shape[i];
    element /= count;
  }
  return place;
}

void CheckRuns(const Slab& slab, uint64_t offset, uint64_t length, const Shape& shape,
               uint64_t item, const std::vector<SlabDimension>& dimensions) {
  uint64_t at = offset;
  slab.ForRuns(offset, length, [&](uint64_t place, uint64_t n) {
    FUZZ_CHECK(n > 0 && n <= slab.run_bytes() && n <= offset + length - at);
    // Of a long run the ends tell all: its bytes lie together.
    for (uint64_t i = 0; i < n; i += n <= 8 || i + 1 == n ? 1 : n - 1) {
      FUZZ_CHECK(PlaceOf(at + i, shape, item, dimensions) == Wide{place} + i);
    }
    at += n;
  });
  FUZZ_CHECK(at == offset + length);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Numbers numbers(data, size);
  const uint64_t item = 1 + numbers.Next() % (1 << 20);
  Shape shape(numbers.Byte() % (tiffin::kMaxRank + 2));
  std::vector<SlabDimension> dimensions(shape.size());
  if (numbers.Byte() % 16 == 15) dimensions.resize(numbers.Byte() % 40);
  for (uint64_t& extent : shape) extent = numbers.Next();
  for (SlabDimension& d : dimensions) {
    d = {static_cast<int64_t>(numbers.Next()), static_cast<int64_t>(numbers.Next()),
         static_cast<int64_t>(numbers.Next())};
  }

  const auto dtype = tiffin::ParseDType(tiffin::StrCat("|V", item));
  FUZZ_CHECK(dtype.ok() && dtype->total_size() == item);
  const auto bytes = tiffin::ArrayBytes(*dtype, shape);
  bool allowed = shape.size() <= tiffin::kMaxRank;
  Wide extent = item, product = item;
  for (const uint64_t n : shape) {
    extent *= std::max<uint64_t>(n, 1);
    product *= n;
    if (extent >= tiffin::kMaxBlobBytes) {
      allowed = false;
      break;
    }
  }
  FUZZ_CHECK(bytes.ok() == allowed);
  if (!bytes.ok()) {
    FUZZ_CHECK(absl::IsInvalidArgument(bytes.status()) && !bytes.status().message().empty());
    return 0;
  }
  FUZZ_CHECK(Wide{*bytes} == product);
  FUZZ_CHECK(Slab::Whole(shape, item).bytes() == *bytes);

  const auto slab = Slab::Make(shape, item, dimensions);
  FUZZ_CHECK(slab.status().code() == Expected(shape, dimensions));
  if (!slab.ok()) {
    FUZZ_CHECK(!slab.status().message().empty());
    return 0;
  }
  Wide selected = item;
  for (size_t i = 0; i < shape.size(); ++i) {
    FUZZ_CHECK(slab->shape()[i] == static_cast<uint64_t>(dimensions[i].count));
    selected *= slab->shape()[i];
  }
  FUZZ_CHECK(slab->bytes() == selected && slab->bytes() <= *bytes);
  if (slab->bytes() == 0) {
    slab->ForRuns(0, 0, [](uint64_t, uint64_t) { FUZZ_CHECK(false); });
    return 0;
  }
  FUZZ_CHECK(slab->run_bytes() > 0 && slab->bytes() % slab->run_bytes() == 0);
  // All of a small selection, and of any one a few places of bounded runs.
  constexpr uint64_t kRuns = 100;
  if (slab->bytes() / slab->run_bytes() <= kRuns) {
    CheckRuns(*slab, 0, slab->bytes(), shape, item, dimensions);
  }
  for (int i = 0; i < 4; ++i) {
    const uint64_t offset = numbers.Next() % slab->bytes();
    const uint64_t most = std::min((slab->bytes() - offset), slab->run_bytes() * kRuns);
    CheckRuns(*slab, offset, numbers.Next() % (most + 1), shape, item, dimensions);
  }
  const uint64_t last = slab->bytes() - 1;
  CheckRuns(*slab, last, 1, shape, item, dimensions);
  return 0;
}
