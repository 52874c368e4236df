#include "client/cli/array_text.h"

#include <gtest/gtest.h>

#include "common/json.h"

namespace tiffin::cli {
namespace {

using namespace std::string_literals;

std::string Text(const Array& array) {
  const std::optional<Value> values = ArrayValues(array);
  return values.has_value() ? PrintJson(*values) : "nothing";
}

TEST(ArrayValues, NestsAsTheShapeSays) {
  EXPECT_EQ(Text({"uint8", {2, 3}, "\0\1\2\3\4\5"s}), "[[0,1,2],[3,4,5]]");
  EXPECT_EQ(Text({"uint8", {}, "\7"s}), "7");
  EXPECT_EQ(Text({"uint8", {0, 3}, ""}), "[]");
}

TEST(ArrayValues, ReadsIntegersOfBothOrders) {
  EXPECT_EQ(Text({"int16", {2}, "\xff\xff\1\0"s}), "[-1,1]");
  EXPECT_EQ(Text({">i2", {2}, "\xff\xfe\0\1"s}), "[-2,1]");
  EXPECT_EQ(Text({"uint64", {1}, "\xff\xff\xff\xff\xff\xff\xff\xff"s}), "[18446744073709551615]");
}

TEST(ArrayValues, ReadsFloatsOfEachSize) {
  EXPECT_EQ(Text({"float16", {4}, "\x00\x3c\x00\xc0\x01\x00\x00\x7c"s}),
            "[1.0,-2.0,5.960464477539063e-08,Infinity]");
  EXPECT_EQ(Text({"float32", {1}, "\0\0\xc0\x3f"s}), "[1.5]");
  EXPECT_EQ(Text({">f8", {1}, "\x3f\xf8\0\0\0\0\0\0"s}), "[1.5]");
  EXPECT_EQ(Text({"complex64", {1}, "\0\0\x80\x3f\0\0\0\xc0"s}), "[[1.0,-2.0]]");
}

TEST(ArrayValues, ReadsTextAndFlags) {
  EXPECT_EQ(Text({"bool", {2}, "\0\1"s}), "[false,true]");
  EXPECT_EQ(Text({"|S3", {2}, "ab\0\0\0\0"s}), R"(["ab",""])");
  EXPECT_EQ(Text({"<U2", {1}, "a\0\0\0\0\0\0\0"s}), R"(["a"])");
}

TEST(ArrayValues, HasNothingForWhatJsonHasNoWordFor) {
  EXPECT_EQ(Text({"|V2", {1}, "ab"}), "nothing");
  EXPECT_EQ(Text({"datetime64[ns]", {1}, std::string(8, '\0')}), "nothing");
  EXPECT_EQ(Text({"int64", {2}, std::string(8, '\0')}), "nothing");  // bytes are missing
}

}  // namespace
}  // namespace tiffin::cli
