#include "common/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>

#include "common/strings.h"
#include "tests/support/test_data.h"

namespace tiffin {
namespace {

using ::testing::HasSubstr;
using ::tiffin::testing::MustParse;

constexpr std::string_view kLoneHigh = "\xED\xA0\x80";  // U+D800 in WTF-8

std::string ErrorOf(std::string_view text, const JsonLimits& limits = {}) {
  const absl::StatusOr<Value> value = ParseJson(text, limits);
  EXPECT_EQ(value.status().code(), absl::StatusCode::kInvalidArgument) << text.substr(0, 100);
  return std::string(value.status().message());
}

std::string Reprinted(std::string_view text, const JsonStyle& style = {}) {
  return PrintJson(MustParse(text), style);
}

TEST(ParseJson, KeepsKindsOfNumbersApart) {
  EXPECT_EQ(MustParse("1"), Value(1));
  EXPECT_EQ(MustParse("1.0"), Value(1.0));
  EXPECT_EQ(MustParse("1e0"), Value(1.0));
  EXPECT_NE(MustParse("1"), MustParse("1.0"));
  EXPECT_EQ(MustParse("-0"), Value(0));
  EXPECT_EQ(MustParse("-0.0"), Value(-0.0));
  EXPECT_NE(MustParse("-0.0"), MustParse("0.0"));
  EXPECT_EQ(MustParse("true"), Value(true));
}

TEST(ParseJson, KeepsIntegersOfAnySize) {
  EXPECT_EQ(MustParse("9223372036854775807"), Value(std::numeric_limits<int64_t>::max()));
  EXPECT_EQ(MustParse("-9223372036854775808"), Value(std::numeric_limits<int64_t>::min()));
  EXPECT_EQ(MustParse("9223372036854775808"), Value(BigInteger{"9223372036854775808"}));
  EXPECT_EQ(MustParse("-9223372036854775809"), Value(BigInteger{"-9223372036854775809"}));
  const std::string big = StrCat("-1", std::string(5000, '0'));
  EXPECT_EQ(Reprinted(big), big);
}

TEST(ParseJson, TakesWhatDoublesCannotHoldAsInfinityOrZero) {
  EXPECT_EQ(MustParse("1e400"), Value(HUGE_VAL));
  EXPECT_EQ(MustParse("-1e400"), Value(-HUGE_VAL));
  EXPECT_EQ(MustParse("1e99999999999999999999"), Value(HUGE_VAL));
  EXPECT_EQ(MustParse("1e-400"), Value(0.0));
  EXPECT_EQ(MustParse("-1e-400"), Value(-0.0));
  EXPECT_EQ(MustParse("-1e-99999999999999999999"), Value(-0.0));
  EXPECT_EQ(MustParse("0e99999"), Value(0.0));
  EXPECT_EQ(MustParse(std::string(400, '9') + ".5"), Value(HUGE_VAL));
  EXPECT_EQ(MustParse("5e-324"), Value(std::numeric_limits<double>::denorm_min()));
  EXPECT_EQ(MustParse("2e-324"), Value(0.0));
  EXPECT_EQ(MustParse("1.7976931348623157e308"), Value(std::numeric_limits<double>::max()));
}

TEST(ParseJson, TakesPythonsNamesOfNumbers) {
  EXPECT_TRUE(std::isnan(*MustParse("NaN").if_double()));
  EXPECT_EQ(MustParse("Infinity"), Value(HUGE_VAL));
  EXPECT_EQ(MustParse("-Infinity"), Value(-HUGE_VAL));
}

TEST(ParseJson, UnescapesStrings) {
  EXPECT_EQ(MustParse(R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u20ac")"),
            Value("\"\\/\b\f\n\r\tA\u00e9\u20ac"));
  EXPECT_EQ(MustParse(R"("\u0000")"), Value(std::string(1, '\0')));
  EXPECT_EQ(MustParse(R"("\ud83d\ude00")"), Value("\U0001F600"));
  EXPECT_EQ(MustParse("\"\U0001F600\""), Value("\U0001F600"));
}

TEST(ParseJson, KeepsLoneSurrogates) {
  EXPECT_EQ(MustParse(R"("\ud800")"), Value(kLoneHigh));
  EXPECT_EQ(MustParse("\"" + std::string(kLoneHigh) + "\""), Value(kLoneHigh));
  EXPECT_EQ(Reprinted(R"(["\ud800x","\udc00\ud800","\ud800\ud83d\ude00"])"),
            R"(["\ud800x","\udc00\ud800","\ud800\ud83d\ude00"])");
}

TEST(ParseJson, JoinsSurrogatesHoweverTheyAreWritten) {
  const Value face("\U0001F600");
  EXPECT_EQ(MustParse("\"\\ud83d\xED\xB8\x80\""), face);
  EXPECT_EQ(MustParse("\"\xED\xA0\xBD\\ude00\""), face);
  EXPECT_EQ(MustParse("\"\xED\xA0\xBD\xED\xB8\x80\""), face);
}

TEST(ParseJson, RefusesWhatIsNotUtf8) {
  for (const std::string_view bytes :
       {"\xFF", "\x80", "\xC0\xAF", "\xE0\x80\xAF", "\xF0\x80\x80\xAF", "\xF4\x90\x80\x80", "\xC3",
        "\xE2\x82", "\xF8\x88\x80\x80\x80"}) {
    EXPECT_THAT(ErrorOf(StrCat("[\"ab", bytes, "\"]")), HasSubstr("[0]: not UTF-8 (byte 4)"));
  }
}

TEST(ParseJson, LetsTheLastOfEqualKeysWinInTheFirstsPlace) {
  EXPECT_EQ(Reprinted(R"({"a":1,"b":2,"a":3})"), R"({"a":3,"b":2})");
  std::string many = "{";
  for (int i = 0; i < 1000; ++i) many += "\"k" + std::to_string(i) + "\":0,";
  many += R"("k7":7,"k999":9,"\u006b8":8})";
  const Value object = MustParse(many);
  EXPECT_EQ(object.if_object()->size(), 1000u);
  EXPECT_EQ(object.if_object()->begin()[7].second, Value(7));
  EXPECT_EQ(object.if_object()->begin()[8].second, Value(8));
  EXPECT_EQ(object.if_object()->begin()[999].second, Value(9));
}

TEST(ParseJson, RefusesWhatIsNotJson) {
  for (const std::string_view text :
       {"",      " ",       "nul",       "truex",       "[1,]",        "[,1]",
        "[1 2]", "{\"a\"}", "{\"a\":}",  "{\"a\":1,}",  "{a:1}",       "{'a':1}",
        "01",    "-",       "+1",        "1.",          ".5",          "1e",
        "1e+",   "0x1",     "1_0",       "[",           "{",           "\"",
        "\"\\",  "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\\u+123\"", "\"\n\"",
        "-NaN",  "nan",     "inf",       "[]]",         "1 2",         "\xEF\xBB\xBF[]",
        "//\n1", "-01"}) {
    EXPECT_NE(ErrorOf(text), "") << text;
  }
  EXPECT_NE(ErrorOf(std::string_view("[1]\0", 4)), "");
}

TEST(ParseJson, NamesPathAndByteOfAnError) {
  EXPECT_EQ(ErrorOf(R"({"arguments": [1, 2, 3, {"data" 7}]})"),
            "arguments[3].data: expected ':' (byte 32)");
  EXPECT_EQ(ErrorOf(R"({"a b": {"": [0, }]}})"), R"(["a b"][""][1]: expected a value (byte 17))");
  EXPECT_EQ(ErrorOf("]"), "expected a value (byte 0)");
  EXPECT_EQ(ErrorOf("[1"), "expected ',' or ']' (byte 2)");
  EXPECT_EQ(ErrorOf(R"({"é": x})"), R"(["\u00e9"]: expected a value (byte 7))");
}

TEST(ParseJson, KeepsErrorsShort) {
  std::string deep;
  for (int i = 0; i < 150; ++i) deep += "{\"" + std::string(1000, 'k') + "\":";
  EXPECT_LT(ErrorOf(deep + "?").size(), 2000u);
}

std::string Nested(size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

TEST(ParseJson, KeepsToTheLimitOfNesting) {
  EXPECT_TRUE(ParseJson(Nested(200)).ok());
  EXPECT_THAT(ErrorOf(Nested(201)), HasSubstr("nested deeper than 200"));
  EXPECT_TRUE(ParseJson(Nested(3), {.max_nesting = 3}).ok());
  EXPECT_NE(ErrorOf(Nested(4), {.max_nesting = 3}), "");
  EXPECT_EQ(MustParse("1"), *ParseJson("1", {.max_nesting = 0}));
}

TEST(ParseJson, NeverGoesDeeperThanTheStackAllows) {
  const JsonLimits no_limit = {.max_nesting = std::numeric_limits<size_t>::max()};
  EXPECT_TRUE(ParseJson(Nested(kMaxJsonNesting), no_limit).ok());
  EXPECT_THAT(ErrorOf(std::string(1'000'000, '['), no_limit), HasSubstr("nested deeper than 1000"));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_THAT(ErrorOf(objects, no_limit), HasSubstr("nested deeper than 1000"));
}

TEST(ParseJson, KeepsToTheOtherLimits) {
  EXPECT_TRUE(ParseJson("[1]", {.max_text_bytes = 3}).ok());
  EXPECT_THAT(ErrorOf("[1] ", {.max_text_bytes = 3}), HasSubstr("limit of 3"));
  EXPECT_TRUE(ParseJson("[1,2]", {.max_entries = 2}).ok());
  EXPECT_THAT(ErrorOf("[0,[1,2,3]]", {.max_entries = 2}), HasSubstr("[1]: more than 2 entries"));
  EXPECT_THAT(ErrorOf(R"({"a":1,"a":1,"a":1})", {.max_entries = 2}), HasSubstr("entries"));
  const std::string digits(30, '7');
  EXPECT_TRUE(ParseJson(digits, {.max_integer_digits = 30}).ok());
  EXPECT_THAT(ErrorOf("[" + digits + "]", {.max_integer_digits = 29}), HasSubstr("30 digits"));
}

TEST(ParseJson, KeepsToTheLimitOfMemory) {
  const JsonLimits limits = {.max_tree_bytes = 100'000};
  EXPECT_TRUE(ParseJson(StrCat("[", std::string(90'000, ' '), "]"), limits).ok());
  std::string lists = "[[]", objects = "[{\"\":0}", strings = "[\"0123456789abcdef\"";
  for (int i = 0; i < 5000; ++i) {
    lists += ",[]";
    objects += ",{\"\":0}";
    strings += ",\"0123456789abcdef\"";
  }
  for (const std::string& text :
       {lists, objects, strings, StrCat("\"", std::string(100'001, 'x'), "\"")}) {
    const bool open = text[0] == '[';
    EXPECT_EQ(ParseJson(open ? text + "]" : text, limits).status().code(),
              absl::StatusCode::kResourceExhausted);
  }
}

TEST(PrintJson, PrintsDoublesAsPythonDoes) {
  // Left: repr() of Python.
  for (const std::string_view text : {"0.0",
                                      "-0.0",
                                      "1.0",
                                      "-1.5",
                                      "0.1",
                                      "100000.0",
                                      "1e+16",
                                      "9999999999999998.0",
                                      "1e-05",
                                      "0.0001",
                                      "0.00012345",
                                      "1.2345e-05",
                                      "1e+22",
                                      "1.7976931348623157e+308",
                                      "5e-324",
                                      "1e-07",
                                      "123456789012345.6",
                                      "1.0000000000000002",
                                      "1e+100",
                                      "1.5e-100",
                                      "NaN",
                                      "Infinity",
                                      "-Infinity"}) {
    EXPECT_EQ(Reprinted(text), text);
  }
  EXPECT_EQ(Reprinted("1E5"), "100000.0");
  EXPECT_EQ(Reprinted("[1e-7, 1e16, 1e-100]", {.short_exponent = true}), "[1e-7,1e+16,1e-100]");
}

TEST(PrintJson, ReadsBackTheSameDouble) {
  std::mt19937_64 random(20240501);
  for (int i = 0; i < 20'000; ++i) {
    const uint64_t bits = random();
    double d;
    static_assert(sizeof(d) == sizeof(bits));
    std::memcpy(&d, &bits, sizeof(d));
    const std::string text = PrintJson(d);
    ASSERT_EQ(MustParse(text), Value(d)) << text;
  }
}

TEST(PrintJson, EscapesAsTheStyleSays) {
  const Value value = List{"a/b\x7f\x01", "H\u00e9llo \U0001F600", kLoneHigh};
  EXPECT_EQ(PrintJson(value), "[\"a/b\x7f\\u0001\",\"H\\u00e9llo \\ud83d\\ude00\",\"\\ud800\"]");
  EXPECT_EQ(PrintJson(value, JsonStyle::Python()),
            R"(["a/b\u007f\u0001", "H\u00e9llo \ud83d\ude00", "\ud800"])");
  EXPECT_EQ(PrintJson(value, JsonStyle::Ujson()),
            "[\"a\\/b\x7f\\u0001\",\"H\\u00e9llo \\ud83d\\ude00\",\"\\ud800\"]");
  EXPECT_EQ(PrintJson(value, {.ascii = false}),
            "[\"a/b\x7f\\u0001\",\"H\u00e9llo \U0001F600\",\"\\ud800\"]");
}

TEST(PrintJson, SortsKeysByCodePoint) {
  const Value value = MustParse(R"({"\ud83d\ude00":1,"\uffff":2,"z":3,"\ud800":4,"":5,"Z":6})");
  EXPECT_EQ(PrintJson(value, {.sort_keys = true}),
            R"({"":5,"Z":6,"z":3,"\ud800":4,"\uffff":2,"\ud83d\ude00":1})");
}

TEST(PrintJson, IndentsAsPythonDoes) {
  EXPECT_EQ(Reprinted(R"({"a":[1,{}],"b":[]})", {.indent = 2}),
            "{\n  \"a\": [\n    1,\n    {}\n  ],\n  \"b\": []\n}");
}

TEST(PrintJson, ReadsBackTheSameInEveryStyle) {
  const Value value = MustParse(
      R"([null, true, 1, 1180591620717411303424, 1.0, -0.0, NaN, "\u00e9\ud800/\u007f", {"b": [], "a": {}}])");
  for (const JsonStyle& style : {JsonStyle{}, JsonStyle::Python(), JsonStyle::Ujson(),
                                 JsonStyle{.ascii = false}, JsonStyle{.indent = 3}}) {
    EXPECT_EQ(MustParse(PrintJson(value, style)), value);
  }
}

// Texts made of pieces that often make sense together: whatever is read is printed and read again
// as the same, and whatever is refused says so with a status.
TEST(ParseJson, SurvivesRandomTexts) {
  constexpr std::string_view kPieces[] = {"[",
                                          "]",
                                          "{",
                                          "}",
                                          ",",
                                          ":",
                                          "\"",
                                          "\"a\"",
                                          "\"\"",
                                          "0",
                                          "-1",
                                          "1.5",
                                          "1e400",
                                          "NaN",
                                          "-",
                                          "Infinity",
                                          "null",
                                          "\\ud83d",
                                          "\\ude00",
                                          "\\u0000",
                                          "\xED\xA0\x80",
                                          "\xC3\xA9",
                                          "\xFF",
                                          "\"a\":",
                                          " ",
                                          "123456789012345678901234567890",
                                          "true",
                                          "\\",
                                          "e",
                                          "."};
  std::mt19937 random(7);
  int read = 0;
  for (int i = 0; i < 200'000; ++i) {
    std::string text;
    for (size_t n = random() % 12; n > 0; --n) text += kPieces[random() % std::size(kPieces)];
    const absl::StatusOr<Value> value = ParseJson(text);
    if (!value.ok()) {
      ASSERT_EQ(value.status().code(), absl::StatusCode::kInvalidArgument) << text;
      continue;
    }
    ++read;
    ASSERT_EQ(MustParse(PrintJson(*value)), *value) << text;
  }
  EXPECT_GT(read, 1000);
}

}  // namespace
}  // namespace tiffin
