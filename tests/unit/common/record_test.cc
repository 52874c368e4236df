#include "common/record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "common/strings.h"
#include "tests/support/test_data.h"

namespace tiffin {
namespace {

using ::testing::HasSubstr;
using ::tiffin::testing::MustParse;

constexpr std::string_view kKey = "4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU=";

bool IsRecordText(std::string_view text) { return AsRecord(MustParse(text)) != nullptr; }

TEST(IsRecord, AsksForNoodlesAndAStringType) {
  EXPECT_TRUE(IsRecordText(R"({"_noodles": "0.3.0", "type": "<a>"})"));
  EXPECT_TRUE(IsRecordText(R"({"type": "", "_noodles": null, "class": null, "data": 1, "ref": 0,)"
                           R"( "host": null, "files": null})"));
  EXPECT_FALSE(IsRecordText(R"({"type": "<a>", "data": 1})"));
  EXPECT_FALSE(IsRecordText(R"({"_noodles": "", "data": 1})"));
  EXPECT_FALSE(IsRecordText(R"({"_noodles": "", "type": null})"));
  EXPECT_FALSE(IsRecordText(R"({"_noodles": "", "type": "", "Data": 1})"));
  EXPECT_FALSE(IsRecordText("[]"));
}

TEST(Record, TellsItsTypeAndClass) {
  const Value value = MustParse(R"({"_noodles": "", "type": "<a>", "class": "m.C"})");
  EXPECT_EQ(RecordType(*AsRecord(value)), "<a>");
  EXPECT_EQ(RecordClass(*AsRecord(value)), "m.C");
  EXPECT_TRUE(IsRecordOf(value, "<a>", "m.C"));
  EXPECT_FALSE(IsRecordOf(value, "<a>", "m.D"));
  EXPECT_FALSE(IsRecordOf(Value(1), "<a>", "m.C"));
  EXPECT_EQ(RecordClass(*MustParse(R"({"_noodles": "", "type": "", "class": null})").if_object()),
            "");
}

// A record of the type with a true ref and the data.
absl::StatusOr<std::optional<RecordRef>> RefWith(std::string_view data,
                                                 std::string_view type = "<object>",
                                                 std::string_view class_name = "numpy.ndarray") {
  const Value record = MustParse(StrCat(R"({"_noodles": "", "type": ")", type, R"(", "class": ")",
                                        class_name, R"(", "ref": true, "data": )", data, "}"));
  return RefOf(*record.if_object());
}

std::string First(std::string_view dtype, std::string_view shape, std::string_view key = kKey) {
  return StrCat(R"({"hdf5_path": ")", key, R"(", "dtype": )", dtype, R"(, "shape": )", shape, "}");
}

TEST(RefOf, ReadsBothForms) {
  const absl::StatusOr<std::optional<RecordRef>> first = RefWith(First(R"("int64")", "[2, 0]"));
  ASSERT_TRUE(first.ok() && first->has_value()) << first.status();
  const BlobName expected{*Digest::FromText(kKey), "int64", {2, 0}};
  EXPECT_EQ(std::get<BlobName>(**first), expected);
  EXPECT_EQ(PrintJson(RefData(**first), JsonStyle::Python()), First(R"("int64")", "[2, 0]"));

  const std::string data = StrCat(R"({"value": ")", kKey, R"(", "size": 7})");
  const absl::StatusOr<std::optional<RecordRef>> second = RefWith(data, "<automagic>");
  ASSERT_TRUE(second.ok() && second->has_value()) << second.status();
  EXPECT_EQ(std::get<ValueRef>(**second), (ValueRef{*Digest::FromText(kKey), 7}));
  EXPECT_EQ(PrintJson(RefData(**second), JsonStyle::Python()), data);
}

TEST(RefOf, IsNoneForAnythingElse) {
  for (const std::string_view data :
       {"1", "null", "[]", "{}", R"("array.npy")", R"({"filename": "c.h5", "hdf5_path": "x"})",
        R"({"value": 1.5, "size": 3})", R"({"value": "x", "size": "3"})",
        R"({"value": "x", "size": 3, "more": 1})", R"({"hdf5_path": "x", "dtype": "int64"})"}) {
    const absl::StatusOr<std::optional<RecordRef>> ref = RefWith(data);
    ASSERT_TRUE(ref.ok()) << ref.status();
    EXPECT_EQ(*ref, std::nullopt) << data;
  }
  // The first form is an <object>'s only.
  EXPECT_EQ(*RefWith(First(R"("int64")", "[1]"), "<automagic>"), std::nullopt);
  // Without a truthy ref, data is data.
  const Value unmarked =
      MustParse(StrCat(R"({"_noodles": "", "type": "<object>", "ref": 0, "data": )",
                       First(R"("int64")", "[1]"), "}"));
  EXPECT_EQ(*RefOf(*unmarked.if_object()), std::nullopt);
}

TEST(RefOf, RefusesAbsurdContents) {
  const auto error = [](std::string_view data, std::string_view class_name = "numpy.ndarray") {
    const absl::StatusOr<std::optional<RecordRef>> ref = RefWith(data, "<object>", class_name);
    EXPECT_EQ(ref.status().code(), absl::StatusCode::kInvalidArgument) << data;
    return std::string(ref.status().message());
  };
  EXPECT_THAT(error(First(R"("int64")", "[1]", "short")), HasSubstr("data.hdf5_path: "));
  EXPECT_THAT(error(First("7", "[1]")), HasSubstr("data.dtype: "));
  EXPECT_THAT(error(First(R"("int7")", "[1]")), HasSubstr("data.dtype: "));
  EXPECT_THAT(error(First(R"("<i8")", "[1]")), HasSubstr("expected \"int64\""));
  EXPECT_THAT(error(First(R"("object")", "[1]")), HasSubstr("data.dtype: "));
  EXPECT_THAT(error(First(R"("int64")", "7")), HasSubstr("data.shape: "));
  EXPECT_THAT(error(First(R"("int64")", "[1, -1]")), HasSubstr("data.shape[1]: "));
  EXPECT_THAT(error(First(R"("int64")", "[1.0]")), HasSubstr("data.shape[0]: "));
  EXPECT_THAT(error(First(R"("int64")", "[4294967296, 4294967296]")), HasSubstr("data.shape: "));
  EXPECT_THAT(error(First(R"("int64")", "[1]"), "builtins.bytes"), HasSubstr("data.dtype: "));
  EXPECT_THAT(error(First(R"("|V1")", "[1, 1]"), "builtins.bytes"), HasSubstr("data.shape: "));
  EXPECT_THAT(error(R"({"value": "x", "size": 3})"), HasSubstr("data.value: "));
  EXPECT_THAT(error(StrCat(R"({"value": ")", kKey, R"(", "size": -1})")), HasSubstr("data.size: "));
}

TEST(InlineBytes, AreThoseOfBytesRecordsOnly) {
  const auto bytes = [](std::string_view class_name, std::string_view data) {
    return InlineBytes(*MustParse(StrCat(R"({"_noodles": "", "type": "<object>", "class": ")",
                                         class_name, R"(", "data": )", data, "}"))
                            .if_object());
  };
  EXPECT_EQ(bytes("builtins.bytes", R"("AP8=")"), std::string("\x00\xFF", 2));
  EXPECT_EQ(bytes("builtins.bytes", R"("")"), "");
  EXPECT_EQ(bytes("builtins.bytes", R"("AP9=")"), std::nullopt);
  EXPECT_EQ(bytes("builtins.bytes", "7"), std::nullopt);
  EXPECT_EQ(bytes("m.C", R"("AP8=")"), std::nullopt);
}

}  // namespace
}  // namespace tiffin
