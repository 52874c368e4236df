#include "client/cli/slice.h"

#include <gtest/gtest.h>

#include <numeric>

namespace tiffin::cli {
namespace {

// 0, 1, 2 … as single bytes in an array of that shape.
std::string Counting(const Shape& shape) {
  const uint64_t size =
      std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies<>());
  std::string bytes(size, '\0');
  std::iota(bytes.begin(), bytes.end(), '\0');
  return bytes;
}

struct Taken {
  Shape shape;
  std::string bytes;
  friend bool operator==(const Taken&, const Taken&) = default;
};

absl::StatusOr<Taken> Take(std::string_view slice, const Shape& shape) {
  const auto items = ParseSlice(slice);
  if (!items.ok()) return items.status();
  const auto selection = Select(*items, shape);
  if (!selection.ok()) return selection.status();
  const auto slab = Slab::Make(shape, 1, selection->dimensions);
  if (!slab.ok()) return slab.status();
  Taken taken{selection->shape, ""};
  const std::string whole = Counting(shape);
  slab->ForRuns(0, slab->bytes(), [&](uint64_t offset, uint64_t length) {
    taken.bytes.append(whole, offset, length);
  });
  return taken;
}

std::string Bytes(std::initializer_list<int> numbers) {
  std::string bytes;
  for (int number : numbers) bytes.push_back(static_cast<char>(number));
  return bytes;
}

std::string ErrorOf(std::string_view slice, const Shape& shape) {
  return std::string(Take(slice, shape).status().message());
}

TEST(ParseSlice, ReadsEachKindOfItem) {
  const auto items = ParseSlice("3,1:,:4,1:9:2,::,...");
  ASSERT_TRUE(items.ok()) << items.status();
  const std::vector<SliceItem> expected = {{SliceItem::Kind::kIndex, 3, std::nullopt, 1},
                                           {SliceItem::Kind::kRange, 1, std::nullopt, 1},
                                           {SliceItem::Kind::kRange, 0, 4, 1},
                                           {SliceItem::Kind::kRange, 1, 9, 2},
                                           {SliceItem::Kind::kRange, 0, std::nullopt, 1},
                                           {SliceItem::Kind::kEllipsis, 0, std::nullopt, 1}};
  EXPECT_EQ(*items, expected);
}

TEST(ParseSlice, NamesTheItemThatIsWrong) {
  EXPECT_EQ(ParseSlice("0:2,-1").status().message(),
            "slice '-1': negative numbers are not supported");
  EXPECT_EQ(ParseSlice("::0").status().message(), "slice '::0': a step of 0");
  EXPECT_EQ(ParseSlice("a:b").status().message(), "slice 'a:b': not a number");
  EXPECT_EQ(ParseSlice("").status().message(), "slice '': not a number");
  EXPECT_EQ(ParseSlice("1:2:3:4").status().message(), "slice '1:2:3:4': more than two colons");
}

TEST(Select, TakesARangeWithAStep) {
  EXPECT_EQ(*Take("1:8:3", {10}), (Taken{{3}, Bytes({1, 4, 7})}));
}

TEST(Select, AnIndexTakesItsDimensionAway) {
  EXPECT_EQ(*Take("2", {4, 3}), (Taken{{3}, Bytes({6, 7, 8})}));
  EXPECT_EQ(*Take(":,1", {4, 3}), (Taken{{4}, Bytes({1, 4, 7, 10})}));
  EXPECT_EQ(*Take("3,2", {4, 3}), (Taken{{}, Bytes({11})}));
}

TEST(Select, StopsBeyondTheEndAreCut) {
  EXPECT_EQ(*Take("2:100", {4}), (Taken{{2}, Bytes({2, 3})}));
  EXPECT_EQ(*Take("100:", {4}), (Taken{{0}, ""}));
  EXPECT_EQ(*Take("0::18446744073709551615", {4}), (Taken{{1}, Bytes({0})}));
}

TEST(Select, DimensionsThatAreNotNamedAreTakenWhole) {
  EXPECT_EQ(*Take("1", {2, 2, 2}), (Taken{{2, 2}, Bytes({4, 5, 6, 7})}));
  EXPECT_EQ(*Take("...,1", {2, 2, 2}), (Taken{{2, 2}, Bytes({1, 3, 5, 7})}));
  EXPECT_EQ(*Take("...", {2, 2}), (Taken{{2, 2}, Bytes({0, 1, 2, 3})}));
}

TEST(Select, StepsInEachDimension) {
  EXPECT_EQ(*Take("::2,1::2,:1", {4, 4, 2}), (Taken{{2, 2, 1}, Bytes({2, 6, 18, 22})}));
}

TEST(Select, OfASingleValue) { EXPECT_EQ(*Take("...", {}), (Taken{{}, Bytes({0})})); }

TEST(Select, AnEmptyDimensionSelectsNothing) {
  EXPECT_EQ(*Take("0:1", {3, 0}), (Taken{{1, 0}, ""}));
}

TEST(Select, SaysWhatDoesNotFit) {
  EXPECT_EQ(ErrorOf("4", {4}), "slice: index 4 is beyond dimension 0 of size 4");
  EXPECT_EQ(ErrorOf(":,:", {4}), "slice: 2 items, but the array has 1 dimensions");
  EXPECT_EQ(ErrorOf("...,...", {4}), "slice: more than one '...'");
}

}  // namespace
}  // namespace tiffin::cli
