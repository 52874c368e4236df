#include "common/cbor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "absl/strings/escaping.h"
#include "common/json.h"
#include "common/strings.h"
#include "tests/support/test_data.h"

namespace tiffin {
namespace {

using ::testing::HasSubstr;
using ::tiffin::testing::MustParse;

std::string HexOf(const Value& value) {
  const absl::StatusOr<std::string> encoded = EncodeCbor(value);
  EXPECT_TRUE(encoded.ok()) << encoded.status();
  return encoded.ok() ? absl::BytesToHexString(*encoded) : "";
}

std::string HexOfJson(std::string_view text) { return HexOf(MustParse(text)); }

struct Vector {
  std::string_view json, hex;
};

TEST(Encode, GivesTheVectorsOfRfc8949) {
  // Appendix A, what JSON can say of it.
  const Vector vectors[] = {
      {"0", "00"},
      {"1", "01"},
      {"10", "0a"},
      {"23", "17"},
      {"24", "1818"},
      {"25", "1819"},
      {"100", "1864"},
      {"1000", "1903e8"},
      {"1000000", "1a000f4240"},
      {"1000000000000", "1b000000e8d4a51000"},
      {"18446744073709551615", "1bffffffffffffffff"},
      {"18446744073709551616", "c249010000000000000000"},
      {"-18446744073709551616", "3bffffffffffffffff"},
      {"-18446744073709551617", "c349010000000000000000"},
      {"-1", "20"},
      {"-10", "29"},
      {"-100", "3863"},
      {"-1000", "3903e7"},
      {"0.0", "f90000"},
      {"-0.0", "f98000"},
      {"1.0", "f93c00"},
      {"1.1", "fb3ff199999999999a"},
      {"1.5", "f93e00"},
      {"65504.0", "f97bff"},
      {"100000.0", "fa47c35000"},
      {"3.4028234663852886e+38", "fa7f7fffff"},
      {"1.0e+300", "fb7e37e43c8800759c"},
      {"5.960464477539063e-8", "f90001"},
      {"0.00006103515625", "f90400"},
      {"-4.0", "f9c400"},
      {"-4.1", "fbc010666666666666"},
      {"Infinity", "f97c00"},
      {"NaN", "f97e00"},
      {"-Infinity", "f9fc00"},
      {"false", "f4"},
      {"true", "f5"},
      {"null", "f6"},
      {R"("")", "60"},
      {R"("a")", "6161"},
      {R"("IETF")", "6449455446"},
      {R"("\"\\")", "62225c"},
      {R"("\u00fc")", "62c3bc"},
      {R"("\u6c34")", "63e6b0b4"},
      {R"("\ud800\udd51")", "64f0908591"},
      {"[]", "80"},
      {"[1,2,3]", "83010203"},
      {"[1,[2,3],[4,5]]", "8301820203820405"},
      {"[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25]",
       "98190102030405060708090a0b0c0d0e0f101112131415161718181819"},
      {"{}", "a0"},
      {R"({"a":1,"b":[2,3]})", "a26161016162820203"},
      {R"(["a",{"b":"c"}])", "826161a161626163"},
      {R"({"e":"E","d":"D","c":"C","b":"B","a":"A"})",
       "a56161614161626142616361436164614461656145"},
  };
  for (const Vector& vector : vectors) {
    EXPECT_EQ(HexOfJson(vector.json), vector.hex) << vector.json;
  }
}

TEST(Encode, UsesTheShortestFloatThatKeepsTheValue) {
  const Vector vectors[] = {
      {"65505.0", "fa477fe100"},                // half: too many digits
      {"65536.0", "fa47800000"},                // half: too large
      {"65520.0", "fa477ff000"},                // would round to infinity
      {"2.9802322387695312e-8", "fa33000000"},  // below half's smallest
      {"0.000060975551605224609", "f903ff"},    // half's largest subnormal
      {"0.000030517578125", "f90200"},
      {"1.401298464324817e-45", "fa00000001"},           // single's smallest
      {"3.4028235677973366e+38", "fb47effffff0000000"},  // above single's largest
      {"5e-324", "fb0000000000000001"},
      {"1.0009765625", "f93c01"},
      {"1.00048828125", "fa3f801000"},
      {"1.0000001192092896", "fa3f800001"},
  };
  for (const Vector& vector : vectors) {
    EXPECT_EQ(HexOfJson(vector.json), vector.hex) << vector.json;
  }
}

// What a float of any width stands for, by its definition.
double Decoded(const std::string& cbor) {
  const auto big_endian = [&cbor](size_t bytes) {
    uint64_t bits = 0;
    for (size_t i = 1; i <= bytes; ++i) bits = bits << 8 | static_cast<uint8_t>(cbor[i]);
    return bits;
  };
  switch (static_cast<uint8_t>(cbor[0])) {
    case 0xF9: {
      const uint64_t bits = big_endian(2);
      const int exponent = static_cast<int>(bits >> 10 & 31);
      const double fraction = static_cast<double>(bits & 1023);
      const double magnitude = exponent == 0    ? std::ldexp(fraction, -24)
                               : exponent == 31 ? HUGE_VAL
                                                : std::ldexp(fraction + 1024, exponent - 25);
      return (bits & 0x8000) != 0 ? -magnitude : magnitude;
    }
    case 0xFA:
      return std::bit_cast<float>(static_cast<uint32_t>(big_endian(4)));
    default:
      return std::bit_cast<double>(big_endian(8));
  }
}

TEST(Encode, KeepsEveryHalfAndTwoBytesForIt) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const std::string cbor = {'\xF9', static_cast<char>(bits >> 8), static_cast<char>(bits)};
    if ((bits >> 10 & 31) == 31 && (bits & 1023) != 0) continue;  // NaNs
    ASSERT_EQ(*EncodeCbor(Decoded(cbor)), cbor) << bits;
  }
}

TEST(Encode, KeepsTheValueOfRandomFloats) {
  std::mt19937_64 random(11);
  for (int i = 0; i < 100'000; ++i) {
    double d = std::bit_cast<double>(random());
    if (i % 3 == 1) d = std::bit_cast<float>(static_cast<uint32_t>(random()));
    if (i % 3 == 2)
      d = std::ldexp(static_cast<double>(random() % 4096), static_cast<int>(random() % 60) - 30);
    if (std::isnan(d)) continue;
    const std::string cbor = *EncodeCbor(d);
    ASSERT_EQ(Value(Decoded(cbor)), Value(d));
    const bool single = static_cast<double>(static_cast<float>(std::abs(d) < 1e38 ? d : 0)) == d;
    ASSERT_LE(cbor.size(), single ? 5u : 9u) << d;
  }
}

TEST(Encode, SortsKeysByTheirEncoding) {
  EXPECT_EQ(HexOfJson(R"({"aa":1,"b":2,"\ud800":3,"":4})"),
            "a46004616202626161"
            "01"
            "d9011143eda08003");
  EXPECT_EQ(HexOfJson(R"({"b":1,"a":2})"), HexOfJson(R"({"a":2,"b":1})"));
}

std::string Record(std::string_view type, std::string_view class_json, std::string_view data,
                   std::string_view more = "") {
  return StrCat(R"({"_noodles": "0.3.0", "type": ")", type, R"(", "class": )", class_json,
                R"(, "data": )", data, more, "}");
}

TEST(Encode, NamesARecordByItsBody) {
  const std::string body_hex = absl::BytesToHexString(ToAbsl(Sha256::Of("\x01").view()));
  EXPECT_EQ(HexOfJson(Record("<a>", "\"m.C\"", "1")),
            "d81b83"
            "633c613e"
            "636d2e43"
            "5820" +
                body_hex);
  EXPECT_EQ(HexOfJson(Record("<a>", "null", "1")),
            "d81b83"
            "633c613e"
            "f6"
            "5820" +
                body_hex);
  EXPECT_EQ(HexOfJson(R"({"type": "<a>", "_noodles": 7, "data": 1, "ref": false, "host": "h"})"),
            "d81b83"
            "633c613e"
            "f6"
            "5820" +
                body_hex);
  EXPECT_EQ(HexOfJson(Record("<a>", "null", "1", R"(, "ref": true, "files": [])")),
            "d81b83"
            "633c613e"
            "f6"
            "5820" +
                body_hex);
}

TEST(Encode, CountsHostAndFilesOfARecordThatNamesFiles) {
  const std::string body_hex = absl::BytesToHexString(ToAbsl(Sha256::Of("\x01").view()));
  EXPECT_EQ(HexOfJson(Record("<a>", "null", "1", R"(, "files": ["f"], "host": "h")")),
            "d81b85"
            "633c613e"
            "f6"
            "5820" +
                body_hex +
                "6168"
                "816166");
  EXPECT_EQ(HexOfJson(Record("<a>", "null", "1", R"(, "files": ["f"])")),
            "d81b85"
            "633c613e"
            "f6"
            "5820" +
                body_hex +
                "f6"
                "816166");
}

TEST(Encode, TakesAnObjectWithOtherMembersAsAMap) {
  EXPECT_EQ(HexOfJson(R"({"type": "<a>", "data": 1})").substr(0, 2), "a2");
  EXPECT_EQ(HexOfJson(R"({"_noodles": "", "type": 1})").substr(0, 2), "a2");
  EXPECT_EQ(HexOfJson(R"({"_noodles": "", "type": "", "x": 1})").substr(0, 2), "a3");
}

Digest BodyOf(std::string_view record) {
  const Value value = MustParse(record);
  return *BodyDigest(*value.if_object());
}

TEST(BodyDigest, SortsTheItemsOfASet) {
  const std::string set = "\xD9\x01\x02\x83\x01\x18\x18\x20";  // 1, 24, -1
  EXPECT_EQ(BodyOf(Record("<object>", "\"builtins.set\"", "[-1, 24, 1]")), Sha256::Of(set));
  EXPECT_EQ(BodyOf(Record("<object>", "\"builtins.frozenset\"", "[24, 1, -1]")), Sha256::Of(set));
  // Only there: elsewhere a list is a list, and Noodles writes some sets as pickles.
  EXPECT_EQ(BodyOf(Record("<automagic>", "\"builtins.set\"", "[2, 1]")),
            Sha256::Of("\x82\x02\x01"));
  EXPECT_EQ(BodyOf(Record("<object>", "\"builtins.set\"", "\"gA==\"")), Sha256::Of("\x64gA=="));
}

TEST(BodyDigest, SortsTheLinksOfAWorkflow) {
  const std::string a =
      R"([{"node": 0, "to": [{"address": 1}, {"address": 0}]}, {"node": 1, "to": []}])";
  const std::string b =
      R"([{"to": [], "node": 1}, {"node": 0, "to": [{"address": 0}, {"address": 1}]}])";
  const auto workflow = [](const std::string& links) {
    return Record("<object>", "\"noodles.workflow.model.Workflow\"",
                  StrCat(R"({"root": 0, "nodes": [1, 2], "links": )", links, "}"));
  };
  EXPECT_EQ(BodyOf(workflow(a)), BodyOf(workflow(b)));
  EXPECT_NE(BodyOf(workflow(a)), BodyOf(workflow("[]")));
  // Links of any other shape are taken as they are, not refused.
  EXPECT_NE(BodyOf(workflow(R"({"x": [1]})")), BodyOf(workflow("[7, null]")));
}

TEST(BodyDigest, TakesTextThatIsNoArrayAsText) {
  // No base64, no .npy inside, or a header that cannot be read.
  for (const std::string_view data : {"\"k05VTVBZ*\"", "\"k05VTVBZAQ==\"", "\"hello\""}) {
    const Value text = MustParse(data);
    EXPECT_EQ(BodyOf(Record("<object>", "\"numpy.ndarray\"", data)), Sha256::Of(*EncodeCbor(text)));
    EXPECT_EQ(BodyOf(Record("<object>", "\"builtins.bytes\"", "\"a\"")), Sha256::Of("\x61"
                                                                                    "a"));
  }
}

TEST(Encode, NamesThePathOfAMalformedRef) {
  const absl::StatusOr<std::string> encoded =
      EncodeCbor(MustParse(StrCat(R"({"arguments": [0, )",
                                  Record("<a>", "null",
                                         R"([{"x": {"_noodles": "", "type": "<b>", "ref": 1,)"
                                         R"("data": {"value": "AAAA", "size": 1}}}])"),
                                  "]}")));
  EXPECT_EQ(encoded.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(encoded.status().message()),
              HasSubstr("arguments[1].data[0].x.data.value: not a SHA-256"));
}

TEST(ResultDigest, IsOfTheResultWithItsMark) {
  EXPECT_EQ(*ResultDigest(Value(3)), Sha256::Of("\x82\x6Ftiffin.result/1\x03"));
}

}  // namespace
}  // namespace tiffin
