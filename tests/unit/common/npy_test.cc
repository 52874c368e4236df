#include "common/npy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "common/base64.h"
#include "common/dtype.h"
#include "tests/support/test_data.h"

namespace tiffin {
namespace {

using ::testing::HasSubstr;
using ::tiffin::testing::At;
using ::tiffin::testing::StringAt;
using ::tiffin::testing::TestJson;

constexpr std::string_view kMagic = "\x93NUMPY";

// A header of version 1 around the dict, without alignment, which readers must not rely on.
std::string Header(const std::string& dict) {
  std::string out(kMagic);
  out += std::string("\x01\x00", 2);
  out.push_back(static_cast<char>(dict.size() & 0xFF));
  out.push_back(static_cast<char>(dict.size() >> 8));
  return out + dict;
}

std::string Dict(const std::string& descr, const std::string& order, const std::string& shape) {
  return "{'descr': " + descr + ", 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

std::string ErrorOf(const std::string& npy) {
  const absl::StatusOr<Array> array = ReadNpy(npy);
  EXPECT_EQ(array.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(array.status().message());
}

Shape ShapeAt(const Value& test_case) {
  Shape shape;
  for (const Value& n : *At(test_case, "shape").if_list()) {
    shape.push_back(static_cast<uint64_t>(*n.if_int64()));
  }
  return shape;
}

// The cases that numpy made, as it read and wrote them.
class NumpyCases : public ::testing::Test {
 protected:
  const List& cases() const { return *At(file_, "cases").if_list(); }
  const Object& spellings() const { return *At(file_, "spellings").if_object(); }

 private:
  const Value file_ = TestJson("numpy-dtypes.json");
};

TEST_F(NumpyCases, AreReadWithTheirNamesShapesAndKeys) {
  ASSERT_GT(cases().size(), 100u);
  for (const Value& c : cases()) {
    SCOPED_TRACE(StringAt(c, "name").substr(0, 100));
    const absl::StatusOr<Array> array = ReadNpy(*Base64Decode(StringAt(c, "npy")));
    ASSERT_TRUE(array.ok()) << array.status();
    EXPECT_EQ(array->dtype, StringAt(c, "name"));
    EXPECT_EQ(array->shape, ShapeAt(c));
    EXPECT_EQ(array->Name().key.ToText(), StringAt(c, "key"));
  }
}

TEST_F(NumpyCases, InFortranOrderHaveTheSameKeys) {
  for (const Value& c : cases()) {
    SCOPED_TRACE(StringAt(c, "name").substr(0, 100));
    const absl::StatusOr<Array> array = ReadNpy(*Base64Decode(StringAt(c, "fortran_npy")));
    ASSERT_TRUE(array.ok()) << array.status();
    EXPECT_EQ(array->Name().key.ToText(), StringAt(c, "key"));
  }
}

TEST_F(NumpyCases, AreWrittenAsNumpySaveWritesThem) {
  for (const Value& c : cases()) {
    SCOPED_TRACE(StringAt(c, "name").substr(0, 100));
    const std::string npy = *Base64Decode(StringAt(c, "npy"));
    const absl::StatusOr<std::string> written = WriteNpy(*ReadNpy(npy));
    ASSERT_TRUE(written.ok()) << written.status();
    EXPECT_EQ(*written, npy);
  }
}

TEST_F(NumpyCases, HaveDTypesThatAreNamedAsNumpyNamesThem) {
  for (const Value& c : cases()) {
    const std::string name = StringAt(c, "name");
    SCOPED_TRACE(name.substr(0, 100));
    const absl::StatusOr<DType> dtype = ParseDType(name);
    ASSERT_TRUE(dtype.ok()) << dtype.status();
    EXPECT_EQ(DTypeName(*dtype), name);
    EXPECT_EQ(DTypeDescr(*dtype), StringAt(c, "descr"));
    EXPECT_EQ(dtype->total_size(), static_cast<uint64_t>(*At(c, "itemsize").if_int64()));
    // The descr says the same, without its quotes if it is a plain one.
    std::string descr = StringAt(c, "descr");
    if (descr.front() == '\'') descr = descr.substr(1, descr.size() - 2);
    const absl::StatusOr<DType> from_descr = ParseDType(descr);
    ASSERT_TRUE(from_descr.ok()) << from_descr.status();
    EXPECT_EQ(*from_descr, *dtype);
  }
}

TEST_F(NumpyCases, NameTheDTypeOfEverySpellingThatNumpyTakes) {
  ASSERT_GT(spellings().size(), 100u);
  for (const auto& [spelling, name] : spellings()) {
    const absl::StatusOr<DType> dtype = ParseDType(spelling);
    ASSERT_TRUE(dtype.ok()) << dtype.status();
    EXPECT_EQ(DTypeName(*dtype), *name.if_string()) << spelling;
  }
}

TEST(ReadNpy, TakesHeadersWithTheStringsOfPython2) {
  std::string npy = *WriteNpy({"int32", {2}, "12345678"});
  npy.replace(npy.find("'<i4'"), 5, "u'<i4'");
  npy.erase(npy.rfind(' ', npy.find('\n')), 1);  // as long as it was
  const absl::StatusOr<Array> array = ReadNpy(npy);
  ASSERT_TRUE(array.ok()) << array.status();
  EXPECT_EQ(array->dtype, "int32");
  EXPECT_EQ(array->bytes, "12345678");
}

TEST(BlobKey, IsTheSeedsToken) {
  std::string bytes(80, '\0');
  for (size_t i = 0; i < 10; ++i) bytes[8 * i] = static_cast<char>(i);
  EXPECT_EQ(BlobKey("int64", {10}, bytes).ToText(), "4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU=");
  // The token is ambiguous: the name is not.
  const std::string eight_zeros(8, '\0');
  const BlobName one_zero = Array{"int64", {0}, ""}.Name();
  const BlobName empty = Array{"int64", {}, eight_zeros}.Name();
  EXPECT_EQ(one_zero.key, empty.key);
  EXPECT_NE(one_zero, empty);
}

TEST(BlobKey, OfBytesIsThatOfAnArrayOfV1) {
  const BlobName name = BytesBlobName("hello");
  EXPECT_EQ(name.key.ToText(), "qjEZlgyf-twL8RyEcwvO78SqG3D7xV1E72v5aFau9FA=");
  EXPECT_EQ(name.ToText(), "qjEZlgyf-twL8RyEcwvO78SqG3D7xV1E72v5aFau9FA= |V1 [5]");
}

TEST(BlobKey, MayBeMadePieceByPiece) {
  Sha256 hash = StartBlobKey("uint8", {6});
  hash.Update("abc");
  hash.Update("def");
  EXPECT_EQ(hash.Finish(), BlobKey("uint8", {6}, "abcdef"));
}

TEST(ReadNpy, TakesHeadersOfAllVersionsAndSpellings) {
  const std::string bytes = "\x01\x02";
  const Array expected{"uint8", {2}, bytes};
  for (const std::string& dict :
       {Dict("'|u1'", "False", "(2,)"), Dict("\"u1\"", "False", "(2L,)"),
        std::string("{'shape':(2,),'descr':'<u1','fortran_order':False}"),
        std::string(
            " { 'shape' : ( 2 , ) , 'fortran_order' : True , 'descr' : '\\x75\\x31' } \n")}) {
    const absl::StatusOr<Array> array = ReadNpy(Header(dict) + bytes);
    ASSERT_TRUE(array.ok()) << array.status() << dict;
    EXPECT_EQ(array->Name(), expected.Name());
    EXPECT_EQ(array->bytes, bytes);
  }
  const std::string dict = Dict("[('\xC3\xA9', '|u1')]", "False", "(2,)");
  std::string version3(kMagic);
  version3 += std::string("\x03\x00", 2) + static_cast<char>(dict.size()) + std::string(3, '\0');
  EXPECT_EQ(ReadNpy(version3 + dict + bytes)->dtype, "[('\xC3\xA9', 'u1')]");
  // What is UTF-8 in version 3 is Latin-1 in version 1.
  EXPECT_EQ(ReadNpy(Header(dict) + bytes)->dtype, "[('\xC3\x83\xC2\xA9', 'u1')]");
}

TEST(ReadNpy, RefusesWhatIsCutAnywhere) {
  const std::string npy = *WriteNpy({"int32", {2, 2}, std::string(16, 'x')});
  ASSERT_TRUE(ReadNpy(npy).ok());
  for (size_t size = 0; size < npy.size(); ++size) {
    EXPECT_EQ(ReadNpy(npy.substr(0, size)).status().code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_THAT(ErrorOf(npy + "x"), HasSubstr("17 bytes of data instead of 16"));
}

TEST(ReadNpy, RefusesAbsurdShapes) {
  const auto error = [](const std::string& shape) {
    return ErrorOf(Header(Dict("'<i8'", "False", shape)));
  };
  EXPECT_THAT(error("(-1,)"), HasSubstr("negative"));
  EXPECT_THAT(error("(9223372036854775808,)"), HasSubstr("2^63"));
  EXPECT_THAT(error("(99999999999999999999999999,)"), HasSubstr("2^63"));
  EXPECT_THAT(error("(9223372036854775807,)"), HasSubstr("2^48"));
  EXPECT_THAT(error("(4294967296, 4294967296)"), HasSubstr("2^48"));
  EXPECT_THAT(error("(140737488355328, 140737488355328, 140737488355328)"), HasSubstr("2^48"));
  EXPECT_THAT(error("(0, 4611686018427387904)"), HasSubstr("2^48"));
  EXPECT_THAT(error("(3)"), HasSubstr("','"));
  EXPECT_THAT(error("3"), HasSubstr("'('"));
  EXPECT_THAT(error("(1.5,)"), HasSubstr("','"));
  EXPECT_THAT(error("(True,)"), HasSubstr("integer"));
  std::string dimensions;
  for (int i = 0; i < 33; ++i) dimensions += "1, ";
  EXPECT_THAT(error("(" + dimensions + ")"), HasSubstr("32 dimensions"));
}

TEST(ReadNpy, RefusesMalformedHeaders) {
  EXPECT_THAT(ErrorOf("NUMPY"), HasSubstr("magic"));
  std::string version4 = Header(Dict("'<i8'", "False", "(0,)"));
  version4[6] = 4;
  EXPECT_THAT(ErrorOf(version4), HasSubstr("version"));
  EXPECT_THAT(ErrorOf(Header("{'descr': '<i8', 'shape': (0,)}")), HasSubstr("missing"));
  EXPECT_THAT(ErrorOf(Header("{'descr': '<i8', 'descr': '<i8'}")), HasSubstr("repeated"));
  EXPECT_THAT(ErrorOf(Header("{'other': '<i8'}")), HasSubstr("unknown"));
  EXPECT_THAT(ErrorOf(Header(Dict("'<i8'", "1", "(0,)"))), HasSubstr("True or False"));
  EXPECT_THAT(ErrorOf(Header(Dict("'<i8'", "False", "(0,)") + "x")),
              HasSubstr("end of the header"));
  EXPECT_THAT(ErrorOf(Header(Dict("'<i9'", "False", "(0,)"))), HasSubstr("\"<i9\""));
  EXPECT_THAT(ErrorOf(Header("__import__('os').system('true')")), HasSubstr("'{'"));
}

TEST(ReadNpy, RefusesPythonObjects) {
  EXPECT_THAT(ErrorOf(Header(Dict("'|O'", "False", "(1,)")) + "12345678"), HasSubstr("objects"));
  EXPECT_THAT(ErrorOf(Header(Dict("[('a', [('b', '|O')])]", "False", "(1,)")) + "12345678"),
              HasSubstr("objects"));
}

TEST(ReadNpy, BringsFortranOrderToCOrderInAnyRank) {
  // The value at each index is its place in C order.
  const Shape shape = {3, 1, 4, 2, 1, 5};
  const size_t count = 3 * 4 * 2 * 5;
  for (const size_t size : {1u, 2u, 3u, 4u, 8u, 16u}) {
    std::string c_order, fortran(count * size, '\0');
    for (size_t place = 0; place < count; ++place) {
      const std::string element(size, static_cast<char>(place));
      c_order += element;
      const size_t l = place % 5, k = place / 5 % 2, j = place / 10 % 4, i = place / 40;
      fortran.replace((i + 3 * (j + 4 * (k + 2 * l))) * size, size, element);
    }
    const std::string descr = "'|V" + std::to_string(size) + "'";
    const std::string npy = Header(Dict(descr, "True", "(3, 1, 4, 2, 1, 5)")) + fortran;
    const absl::StatusOr<Array> array = ReadNpy(npy);
    ASSERT_TRUE(array.ok()) << array.status();
    EXPECT_EQ(array->shape, shape);
    EXPECT_EQ(array->bytes, c_order) << size;
  }
}

TEST(NpyHeaderText, UsesTheVersionThatFits) {
  const auto version = [](const std::string& dtype) {
    const absl::StatusOr<std::string> header = NpyHeaderText(dtype, {2});
    EXPECT_TRUE(header.ok()) << header.status();
    EXPECT_EQ(header->size() % 64, 0u);
    return static_cast<int>((*header)[6]);
  };
  EXPECT_EQ(version("int64"), 1);
  EXPECT_EQ(version("[('\xC3\xA9', '<i4')]"), 1);
  EXPECT_EQ(version("[('" + std::string(65500, 'a') + "', '<i4')]"), 2);
  EXPECT_EQ(version("[('\xE6\xB8\xA9', '<i4')]"), 3);
}

TEST(WriteNpy, RefusesBytesThatDoNotFitTheShape) {
  EXPECT_EQ(WriteNpy({"int64", {2}, "12345678"}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ParseDType, RefusesWhatIsNoDType) {
  for (const std::string_view name : {"",
                                      "int",
                                      "int7",
                                      "float256",
                                      "i3",
                                      "<",
                                      "<k",
                                      "d8",
                                      "i8x",
                                      "M4",
                                      "M8[x]",
                                      "M8[0s]",
                                      "M8[2D/3]",
                                      "datetime64[",
                                      "S-1",
                                      "U99999999999",
                                      "S99999999999999999999",
                                      "complex32",
                                      "uint128",
                                      "b2",
                                      "O4",
                                      "q8",
                                      "'<i8'",
                                      "<<i8",
                                      "str",
                                      "i8 "}) {
    const absl::StatusOr<DType> dtype = ParseDType(name);
    EXPECT_EQ(dtype.status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST(ParseDType, RefusesMalformedFields) {
  for (const std::string_view text :
       {"[", "[('a', '<i4')", "[('a', '<i4'),,]", "[('a')]", "[('a', '<i4', 3)]", "[('', '<i4')]",
        "[('a', '<i4'), ('a', '<i4')]", "[(('t', 'a'), '<i4'), ('t', '<i4')]",
        "[(('', 'a'), '<i4')]", "[('a', '<i4')] x", "[('a', '<i4', (-1,))]",
        "[('a', '<i4', (1000000, 1000000))]", "[('a', 'S2000000000'), ('b', 'S2000000000')]",
        "[('a\\ud800', '<i4')]", "[('a\xFF', '<i4')]", "[('\\q', '<i4')]", "[('a', [)]"}) {
    const absl::StatusOr<DType> dtype = ParseDType(text);
    EXPECT_EQ(dtype.status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(ParseDType, StopsAtAbsurdNestingAndLength) {
  std::string deep = "'<i4'";
  for (int i = 0; i < 1000; ++i) deep = "[('a', " + deep + ")]";
  EXPECT_THAT(std::string(ParseDType(deep).status().message()), HasSubstr("too deep"));
  std::string subarrays = "'<i4'";
  for (int i = 0; i < 1000; ++i) subarrays = "(" + subarrays + ", (1,))";
  EXPECT_THAT(std::string(ParseDType("[('a', " + subarrays + ")]").status().message()),
              HasSubstr("too deep"));
  EXPECT_THAT(std::string(ParseDType(std::string(70000, ' ')).status().message()),
              HasSubstr("limit"));
}

TEST(ParseDType, ReadsOffsetsAndPadding) {
  const absl::StatusOr<DType> dtype =
      ParseDType("[('a', 'i1'), ('', 'V1'), ('', '|V2'), ('b', '<f8', (2, 3)), ('', '|V4')]");
  ASSERT_TRUE(dtype.ok()) << dtype.status();
  ASSERT_EQ(dtype->fields.size(), 4u);
  EXPECT_TRUE(dtype->fields[1].padding());
  EXPECT_EQ(dtype->fields[1].type.item_size, 3u);
  EXPECT_EQ(dtype->fields[2].offset, 4u);
  EXPECT_EQ(dtype->fields[2].type.sub_shape, (std::vector<uint64_t>{2, 3}));
  EXPECT_EQ(dtype->fields[2].type.item_size, 8u);
  EXPECT_EQ(dtype->total_size(), 1u + 3 + 48 + 4);
}

}  // namespace
}  // namespace tiffin
