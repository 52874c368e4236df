#include "common/slab.h"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <string>

#include "common/strings.h"

namespace tiffin {
namespace {

// Byte offsets of the selection, element by element: what Slab must give in runs.
std::vector<uint64_t> Offsets(const Shape& shape, uint64_t item,
                              const std::vector<SlabDimension>& dimensions) {
  std::vector<uint64_t> out = {0};
  for (size_t i = 0; i < shape.size(); ++i) {
    std::vector<uint64_t> next;
    for (const uint64_t index : out) {
      for (int64_t n = 0; n < dimensions[i].count; ++n) {
        next.push_back(index * shape[i] + dimensions[i].start + n * dimensions[i].stride);
      }
    }
    out = std::move(next);
  }
  for (uint64_t& index : out) index *= item;
  return out;
}

std::string Gathered(const Slab& slab, const std::string& array, uint64_t offset, uint64_t length) {
  std::string out;
  slab.ForRuns(offset, length, [&](uint64_t at, uint64_t n) { out += array.substr(at, n); });
  return out;
}

TEST(Slab, SelectsWhatElementByElementSelectionDoes) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(StrCat("seed ", seed));
  std::mt19937 random(seed);
  const auto below = [&](int64_t n) { return n <= 0 ? 0 : static_cast<int64_t>(random() % n); };
  for (int round = 0; round < 10'000; ++round) {
    const uint64_t item = 1 + below(9);
    Shape shape;
    std::vector<SlabDimension> dimensions;
    for (int64_t rank = below(5); rank > 0; --rank) {
      const int64_t extent = below(7);
      SlabDimension d{below(extent + 1), 0, 1 + below(3)};
      if (below(3) == 0)
        d = {0, extent, 1};
      else if (d.start < extent)
        d.count = below((extent - 1 - d.start) / d.stride + 2);
      shape.push_back(extent);
      dimensions.push_back(d);
    }
    std::string array(
        item * std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies<>()), '\0');
    for (char& c : array) c = static_cast<char>(random());
    std::string expected;
    for (const uint64_t at : Offsets(shape, item, dimensions)) expected += array.substr(at, item);

    const auto slab = Slab::Make(shape, item, dimensions);
    ASSERT_TRUE(slab.ok()) << slab.status();
    ASSERT_EQ(slab->bytes(), expected.size());
    for (size_t i = 0; i < shape.size(); ++i) {
      ASSERT_EQ(slab->shape()[i], static_cast<uint64_t>(dimensions[i].count));
    }
    ASSERT_EQ(Gathered(*slab, array, 0, slab->bytes()), expected);
    const uint64_t offset = below(expected.size() + 1);
    const uint64_t length = below(expected.size() - offset + 1);
    ASSERT_EQ(Gathered(*slab, array, offset, length), expected.substr(offset, length));
  }
}

TEST(Slab, JoinsWhatLiesTogether) {
  const std::vector<SlabDimension> rows = {{2, 3, 1}, {0, 5, 1}, {0, 7, 1}};
  EXPECT_EQ(Slab::Make({9, 5, 7}, 8, rows)->run_bytes(), 3u * 5 * 7 * 8);
  const std::vector<SlabDimension> part = {{0, 9, 1}, {1, 2, 1}, {0, 7, 1}};
  EXPECT_EQ(Slab::Make({9, 5, 7}, 8, part)->run_bytes(), 2u * 7 * 8);
  const std::vector<SlabDimension> strided = {{0, 9, 1}, {0, 5, 1}, {0, 4, 2}};
  EXPECT_EQ(Slab::Make({9, 5, 7}, 8, strided)->run_bytes(), 8u);
  EXPECT_EQ(Slab::Whole({9, 5, 7}, 8).run_bytes(), 9u * 5 * 7 * 8);
  EXPECT_EQ(Slab::Whole({}, 8).bytes(), 8u);
}

TEST(Slab, RefusesWhatTheArrayDoesNotHave) {
  const auto make = [](SlabDimension d) {
    const std::vector<SlabDimension> dimensions = {{0, 1, 1}, d};
    return Slab::Make({4, 10}, 8, dimensions).status();
  };
  EXPECT_TRUE(make({0, 10, 1}).ok());
  EXPECT_TRUE(make({10, 0, 1}).ok());
  EXPECT_TRUE(make({1, 3, 4}).ok());
  EXPECT_TRUE(absl::IsOutOfRange(make({1, 4, 3}))) << "1, 4, 7, 10";
  EXPECT_TRUE(absl::IsOutOfRange(make({10, 1, 1})));
  EXPECT_TRUE(absl::IsOutOfRange(make({11, 0, 1})));
  EXPECT_TRUE(absl::IsOutOfRange(make({0, INT64_MAX, INT64_MAX})));
  EXPECT_TRUE(absl::IsOutOfRange(make({INT64_MAX, 2, INT64_MAX})));
  EXPECT_TRUE(absl::IsInvalidArgument(make({-1, 1, 1})));
  EXPECT_TRUE(absl::IsInvalidArgument(make({0, -1, 1})));
  EXPECT_TRUE(absl::IsInvalidArgument(make({0, 1, 0})));
  EXPECT_TRUE(absl::IsInvalidArgument(make({0, 1, -1})));
  EXPECT_EQ(make({-1, 1, 1}).message(), "[1]: start -1 is negative");
  EXPECT_TRUE(absl::IsInvalidArgument(
      Slab::Make({4, 10}, 8, std::vector<SlabDimension>{{0, 1, 1}}).status()));
}

}  // namespace
}  // namespace tiffin
