// The table of DESIGN.md 6, both ways.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <limits>

#include "client/objects.h"
#include "tests/unit/client_objects/fake_blobs.h"

namespace tiffin {
namespace {

using ::testing::HasSubstr;

template <typename T>
std::string Json(const T& object, const EncodeOptions& options = {}) {
  const absl::StatusOr<std::string> text = to_json(object, options);
  EXPECT_TRUE(text.ok()) << text.status();
  return text.value_or("");
}

template <typename T>
T Back(std::string_view text) {
  absl::StatusOr<T> object = from_json<T>(text);
  EXPECT_TRUE(object.ok()) << object.status();
  return object.ok() ? *std::move(object) : T();
}

template <typename T>
std::string Error(std::string_view text) {
  const absl::Status status = from_json<T>(text).status();
  EXPECT_FALSE(status.ok());
  return std::string(status.message());
}

// The object's text, and the object from that text.
template <typename T>
void Both(const T& object, const std::string& text) {
  EXPECT_EQ(Json(object), text);
  EXPECT_EQ(Back<T>(text), object);
}

std::string Rec(const std::string& class_name, const std::string& data) {
  return R"({"_noodles": "0.3.0", "type": "<object>", "class": ")" + class_name + R"(", "data": )" +
         data + "}";
}

TEST(Table, PlainJson) {
  Both(true, "true");
  Both(int8_t{-128}, "-128");
  Both(42, "42");
  Both(uint64_t{18446744073709551615u}, "18446744073709551615");
  Both(std::numeric_limits<int64_t>::min(), "-9223372036854775808");
  Both(1.0, "1.0");
  Both(0.1f, "0.10000000149011612");
  Both(std::string("gr\u00fc\u00df \"x\""), R"("gr\u00fc\u00df \"x\"")");
  Both(nullptr, "null");
  Both(std::vector<int>{1, 2, 3}, "[1, 2, 3]");
  Both(std::vector<bool>{true, false}, "[true, false]");
  Both(std::list<std::string>{"a", "b"}, R"(["a", "b"])");
  Both(std::array<double, 2>{0.5, -0.0}, "[0.5, -0.0]");
  Both(std::map<std::string, std::vector<int>>{{"a", {1}}, {"b", {}}}, R"({"a": [1], "b": []})");
  Both(std::optional<int>(), "null");
  Both(std::optional<int>(3), "3");
  EXPECT_EQ(Json("text"), "\"text\"");
}

TEST(Table, IntegersBeyond64BitsSurvive) {
  const std::string digits = "-123456789012345678901234567890";
  Both(BigInteger{digits}, digits);
  EXPECT_EQ(Back<BigInteger>("7"), BigInteger{"7"});
  EXPECT_EQ(Json(BigInteger{"7"}), "7");
  EXPECT_EQ(Json(BigInteger{"-0"}), "0");
  for (const char* none :
       {"seven", "", "-", "+123456789012345678901234567890", " 7", "007", "7.0", "1e30"}) {
    EXPECT_FALSE(to_json(BigInteger{none}).ok()) << none;
  }
}

TEST(Table, LongDoublesAreRefusedAsTheyWouldLoseDigits) { EXPECT_FALSE(to_json(1.0L).ok()); }

TEST(Table, NanAndInfinitiesSurvive) {
  EXPECT_EQ(Json(std::nan("")), "NaN");
  EXPECT_TRUE(std::isnan(Back<double>("NaN")));
  Both(-std::numeric_limits<double>::infinity(), "-Infinity");
}

TEST(Table, IntegersStayWithinTheirType) {
  EXPECT_EQ(Error<int8_t>("128"), "expected an integer of 8 bits, found integer");
  EXPECT_EQ(Error<uint32_t>("-1"), "expected an integer of 32 bits, found integer");
  EXPECT_EQ(Error<int64_t>("9223372036854775808"), "expected an integer of 64 bits, found integer");
  EXPECT_EQ(Error<uint64_t>("18446744073709551616"),
            "expected an integer of 64 bits, found integer");
  EXPECT_EQ(Error<int64_t>("-9223372036854775809"),
            "expected an integer of 64 bits, found integer");
  EXPECT_EQ(Error<int>("1.0"), "expected an integer, found double");
}

TEST(Table, DoublesTakeIntegersThatTheyHoldExactly) {
  EXPECT_EQ(Back<double>("3"), 3.0);
  EXPECT_EQ(Error<double>("9007199254740993"), "expected a double, found integer");
  EXPECT_EQ(Back<float>("16777216"), 16777216.0F);
  EXPECT_EQ(Error<float>("16777217"), "expected a float, found integer");
}

TEST(Table, FloatsAreRoundedWithinTheirRange) {
  EXPECT_EQ(Back<float>("0.1"), 0.1F);
  EXPECT_EQ(Back<float>("Infinity"), std::numeric_limits<float>::infinity());
  EXPECT_EQ(Error<float>("1e39"), "expected a float, found double");
}

TEST(Table, MapsWithOtherKeys) {
  Both(std::map<int, std::string>{{1, "a"}, {2, "b"}},
       Rec("tiffin.map", R"([[1, "a"], [2, "b"]])"));
  const std::unordered_map<int, int> one{{7, 8}};
  Both(one, Rec("tiffin.map", "[[7, 8]]"));
}

TEST(Table, EqualUnorderedMapsHaveEqualRecords) {
  std::unordered_map<int, int> up(1), down(1000);
  for (int i = 0; i < 300; ++i) up[i] = i;
  for (int i = 300; i-- > 0;) down[i] = i;
  ASSERT_EQ(up, down);
  EXPECT_EQ(Json(up), Json(down));
  EXPECT_EQ((Back<std::unordered_map<int, int>>(Json(up))), up);
  EXPECT_THAT(Json(up), HasSubstr(R"("data": [[0, 0], [1, 1], [2, 2], [3, 3])"));
}

TEST(Table, MapsThatWouldPassForRecordsGoAsPairs) {
  const std::map<std::string, std::string> map{{"_noodles", "0.3.0"}, {"type", "<object>"}};
  Both(map, Rec("tiffin.map", R"([["_noodles", "0.3.0"], ["type", "<object>"]])"));
}

TEST(Table, MapsTakeOrderedDicts) {
  EXPECT_EQ((Back<std::map<std::string, int>>(Rec("collections.OrderedDict", R"({"b": 1})"))),
            (std::map<std::string, int>{{"b", 1}}));
}

TEST(Table, Sets) {
  Both(std::set<int>{1, 2, 3}, Rec("builtins.set", "[1, 2, 3]"));
  Both(std::unordered_set<std::string>{"x"}, Rec("builtins.set", R"(["x"])"));
  EXPECT_EQ(Back<std::set<int>>(Rec("builtins.frozenset", "[2, 1]")), (std::set<int>{1, 2}));
}

TEST(Table, TuplesAndPairs) {
  Both(std::make_tuple(1, std::string("a"), 2.5), Rec("builtins.tuple", R"([1, "a", 2.5])"));
  Both(std::make_pair(1, std::make_pair(2, 3)),
       Rec("builtins.tuple", "[1, " + Rec("builtins.tuple", "[2, 3]") + "]"));
  Both(std::tuple<>(), Rec("builtins.tuple", "[]"));
  EXPECT_EQ((Error<std::pair<int, int>>(Rec("builtins.tuple", "[1, 2, 3]"))),
            "data: expected 2 items, found 3");
}

TEST(Table, Complex) {
  Both(std::complex<double>(1.5, -2.0), Rec("builtins.complex", R"({"real": 1.5, "imag": -2.0})"));
  Both(std::complex<float>(0.5f, 0), Rec("builtins.complex", R"({"real": 0.5, "imag": 0.0})"));
  EXPECT_EQ(Error<std::complex<double>>(Rec("builtins.complex", R"({"real": 1})")),
            "data.imag: is missing");
}

TEST(Table, Bytes) {
  const std::vector<std::byte> bytes{std::byte{0}, std::byte{255}, std::byte{'a'}};
  Both(bytes, Rec("builtins.bytes", "\"AP9h\""));
  Both(std::vector<std::byte>(), Rec("builtins.bytes", "\"\""));
  EXPECT_EQ(Error<std::vector<std::byte>>(Rec("builtins.bytes", "\"?\"")),
            "expected an array (nothing is registered), found a record <object> builtins.bytes");
}

TEST(Table, BytesAreUploadedFromTheLimitOn) {
  const auto blobs = std::make_shared<FakeBlobs>();
  const std::vector<std::byte> bytes(4096, std::byte{'x'});
  const std::string text = Json(bytes, {.blobs = blobs});
  EXPECT_THAT(text, HasSubstr(R"("dtype": "|V1", "shape": [4096])"));
  const auto back = from_json<std::vector<std::byte>>(text, {.deref = true, .blobs = blobs});
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(*back, bytes);
}

TEST(Table, PathsNameTheirHost) {
  const std::filesystem::path path = "dir/out.dat";
  const std::string text = Json(path, {.host = "node1"});
  EXPECT_EQ(text, R"({"_noodles": "0.3.0", "type": "<object>", "class": "pathlib.PosixPath", )"
                  R"("data": "dir/out.dat", "host": "node1", "files": ["dir/out.dat"]})");
  EXPECT_EQ(Back<std::filesystem::path>(text), path);
  setenv("TIFFIN_HOST", "cluster", 1);
  EXPECT_THAT(Json(path), HasSubstr(R"("host": "cluster")"));
  unsetenv("TIFFIN_HOST");
  EXPECT_THAT(Json(path), ::testing::Not(HasSubstr("null")));
}

TEST(Table, VariantsAreWhatTheyHold) {
  using V = std::variant<std::monostate, double, int, std::string, std::set<int>>;
  Both(V(1), "1");
  Both(V(1.0), "1.0");
  Both(V("a"), "\"a\"");
  Both(V(), "null");
  Both(V(std::set<int>{1}), Rec("builtins.set", "[1]"));
  EXPECT_THAT((Error<std::variant<int, std::string>>("[]")),
              HasSubstr("no alternative takes it (nothing is registered): expected an integer, "
                        "found list; expected a "
                        "string, found list"));
}

TEST(Table, VariantsKeepAllDigits) {
  using V = std::variant<float, double>;
  Both(V(0.1), "0.1");
  Both(V(0.5f), "0.5");
  EXPECT_EQ(Back<V>("0.10000000149011612"), V(0.1f));
  EXPECT_EQ(Back<V>("3"), V(3.0f));
  EXPECT_EQ((Back<std::variant<float, std::string>>("0.1")),
            (std::variant<float, std::string>(0.1f)));
  EXPECT_TRUE(std::isnan(std::get<float>(Back<V>("NaN"))));
}

TEST(Table, VariantsKeepAllDigitsOfWhatIsInThem) {
  using Lists = std::variant<std::vector<float>, std::vector<double>, std::vector<int>>;
  Both(Lists(std::vector<double>{0.5, 0.1}), "[0.5, 0.1]");
  Both(Lists(std::vector<int>{1, 2}), "[1, 2]");
  Both(Lists(std::vector<float>{0.5f}), "[0.5]");
  EXPECT_EQ(Back<Lists>("[1, 0.5]"), Lists(std::vector<float>{1, 0.5f}));
  using Optional = std::variant<std::optional<double>, int>;
  EXPECT_EQ(Back<Optional>("3"), Optional(3));
  using Nested = std::variant<std::variant<float, std::string>, double>;
  EXPECT_EQ(Back<Nested>("0.1"), Nested(0.1));
  using Complex = std::variant<std::complex<float>, std::complex<double>>;
  const std::complex<double> c(0.1, 0);
  EXPECT_EQ(Back<Complex>(*to_json(c)), Complex(c));
}

TEST(Table, TextThatIsNoUtf8IsRefused) {
  const std::string bad = "gr\xfc\xdf";
  EXPECT_EQ(to_json(bad).status().message(),
            "a string that is no UTF-8, from its byte 2 on; bytes go as a vector<byte>");
  EXPECT_FALSE(to_json(std::string_view(bad)).ok());
  EXPECT_FALSE(to_json(bad.c_str()).ok());
  EXPECT_FALSE((to_json(std::map<std::string, int>{{bad, 1}})).ok());
  // a lone surrogate, as Python has them
  EXPECT_EQ(Json(std::string("\xed\xa0\x80")), "\"\\ud800\"");
}

// What never comes.
class NoBlobs : public ObjectBlobs {
 public:
  absl::StatusOr<BlobName> Put(std::string_view, const Shape&, std::string_view) override {
    return absl::UnavailableError("away");
  }
  absl::Status Fetch(const RecordRef&,
                     const std::function<absl::Status(std::string_view)>&) override {
    return absl::UnavailableError("away");
  }
};

TEST(Table, VariantsTellWhatIsNoErrorOfTheValue) {
  FakeBlobs blobs;
  const absl::StatusOr<BlobName> name = blobs.Put("float64", {2}, std::string(16, '\0'));
  ASSERT_TRUE(name.ok());
  const Value ref = Client::RefRecord(*name, "numpy.ndarray");
  using V = std::variant<int, NdArray<double>, std::string>;
  EXPECT_EQ(Decode<V>(ref, {.deref = true, .blobs = std::make_shared<NoBlobs>()}).status(),
            absl::UnavailableError("away"));
  EXPECT_EQ(Decode<V>(ref).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(Table, TimesThatWouldBeCutAreRefused) {
  using Seconds = std::chrono::time_point<std::chrono::system_clock, std::chrono::seconds>;
  EXPECT_EQ(Error<std::chrono::seconds>(Rec("tiffin.duration", "1500000000")),
            "data: 1500000000 ns are no whole number of 1/1 s");
  EXPECT_EQ(Error<Seconds>(Rec("tiffin.time", "-1")), "data: -1 ns are no whole number of 1/1 s");
  EXPECT_EQ(Back<std::chrono::seconds>(Rec("tiffin.duration", "2000000000")),
            std::chrono::seconds(2));
}

TEST(Table, Times) {
  Both(std::chrono::nanoseconds(1500), Rec("tiffin.duration", "1500"));
  using Picoseconds = std::chrono::duration<int64_t, std::pico>;
  Both(Picoseconds(2000), Rec("tiffin.duration", "2"));
  EXPECT_EQ(to_json(Picoseconds(2001)).status().message(),
            "a time that is no whole number of nanoseconds");
  EXPECT_THAT(Error<Picoseconds>(Rec("tiffin.duration", "9223372036854775807")),
              HasSubstr("data: 9223372036854775807 ns are beyond the type's range"));
  Both(std::chrono::milliseconds(-2), Rec("tiffin.duration", "-2000000"));
  Both(std::chrono::duration<double>(0.25), Rec("tiffin.duration", "250000000"));
  Both(std::chrono::system_clock::time_point(std::chrono::seconds(1)),
       Rec("tiffin.time", "1000000000"));
  EXPECT_FALSE(to_json(std::chrono::hours(24 * 366 * 300)).ok());
  Both(std::chrono::nanoseconds::max(), Rec("tiffin.duration", "9223372036854775807"));
  Both(std::chrono::system_clock::time_point::max(), Rec("tiffin.time", "9223372036854775807"));
  EXPECT_EQ(Error<std::chrono::seconds>(Rec("tiffin.duration", "1.5")),
            "data: expected an integer of 64 bits, found double");
}

TEST(Table, ErrorsNameThePath) {
  EXPECT_EQ((Error<std::map<std::string, std::vector<int>>>(R"({"a": [1], "b": [2, "x"]})")),
            "b[1]: expected an integer, found string");
  EXPECT_EQ((Error<std::set<std::pair<int, int>>>(
                Rec("builtins.set", "[" + Rec("builtins.tuple", "[1, null]") + "]"))),
            "data[0].data[1]: expected an integer, found null");
  EXPECT_EQ(Error<std::set<int>>(Rec("builtins.tuple", "[]")),
            "expected a record <object> builtins.set (nothing is registered), found a record "
            "<object> builtins.tuple");
}

TEST(Table, JsonIsIndentedOnRequest) {
  EXPECT_EQ(Json(std::vector<int>{1, 2}, {.indent = 2}), "[\n  1,\n  2\n]");
}

}  // namespace
}  // namespace tiffin
