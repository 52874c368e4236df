// Arrays and placeholders.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "client/objects.h"
#include "common/base64.h"
#include "tests/unit/client_objects/fake_blobs.h"

namespace tiffin {
namespace {

using ::testing::HasSubstr;

std::vector<int64_t> Range(size_t n) {
  std::vector<int64_t> numbers(n);
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  EXPECT_TRUE(value.ok()) << value.status();
  return *std::move(value);
}

TEST(Arrays, SmallOnesAreNpyInTheRecord) {
  const std::vector<int64_t> numbers = Range(10);
  const Value record = Must(Encode(std::span<const int64_t>(numbers)));
  EXPECT_EQ(RecordClass(*record.if_object()), "numpy.ndarray");
  const std::optional<Array> array = InlineArray(*record.if_object());
  ASSERT_TRUE(array.has_value());
  EXPECT_EQ(array->Name().ToText(), "4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU= int64 [10]");
  const auto back = Must(Decode<NdArray<int64_t>>(record));
  EXPECT_EQ(back, NdArray<int64_t>({10}, numbers));
}

template <typename T>
void KeepsItsDType(const std::string& dtype) {
  const NdArray<T> array(Shape{2, 1}, std::array<T, 2>{T(1), T(0)});
  const Value record = Must(Encode(array));
  EXPECT_EQ(InlineArray(*record.if_object())->dtype, dtype);
  EXPECT_EQ(Must(Decode<NdArray<T>>(record)), array);
}

TEST(Arrays, OfArithmeticAndComplexTypes) {
  KeepsItsDType<bool>("bool");
  KeepsItsDType<int8_t>("int8");
  KeepsItsDType<uint8_t>("uint8");
  KeepsItsDType<int16_t>("int16");
  KeepsItsDType<uint16_t>("uint16");
  KeepsItsDType<int32_t>("int32");
  KeepsItsDType<uint32_t>("uint32");
  KeepsItsDType<long long>("int64");
  KeepsItsDType<uint64_t>("uint64");
  KeepsItsDType<float>("float32");
  KeepsItsDType<double>("float64");
  KeepsItsDType<std::complex<float>>("complex64");
  KeepsItsDType<std::complex<double>>("complex128");
  KeepsItsDType<long double>("float128");  // numpy's names for those of 16 bytes
  KeepsItsDType<std::complex<long double>>("complex256");
}

TEST(Arrays, OfMemoryThatMayBeWritten) {
  std::vector<int64_t> numbers = Range(10);
  const Value record = Must(Encode(std::span<int64_t>(numbers)));
  EXPECT_EQ(record, Must(Encode(std::span<const int64_t>(numbers))));
}

TEST(Arrays, OfNoAndOfOneDimension) {
  const NdArray<double> scalar(Shape{}, std::array{2.5});
  EXPECT_EQ(Must(Decode<NdArray<double>>(Must(Encode(scalar)))), scalar);
  const NdArray<double> empty(Shape{2, 0});
  EXPECT_EQ(Must(Decode<NdArray<double>>(Must(Encode(empty)))), empty);
}

TEST(Arrays, LargeOnesAreUploadedNeverBase64) {
  const std::vector<int64_t> numbers = Range(512);
  const NdView<int64_t> view{numbers, {8, 64}};
  const absl::Status refused = Encode(view).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("4096 bytes is uploaded"));

  const auto blobs = std::make_shared<FakeBlobs>();
  const Value record = Must(Encode(view, {.blobs = blobs}));
  EXPECT_EQ(blobs->puts, 1);
  EXPECT_TRUE(HasRef(*record.if_object()));
  const auto back = Must(Decode<NdArray<int64_t>>(record, {.deref = true, .blobs = blobs}));
  EXPECT_EQ(back, NdArray<int64_t>({8, 64}, numbers));
}

TEST(Arrays, ThatWereMovedFromAreEmpty) {
  NdArray<int> array({2, 3});
  const NdArray<int> taken = std::move(array);
  EXPECT_EQ(taken.size(), 6U);
  EXPECT_EQ(array.size(), 0U);  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(array, NdArray<int>());
}

TEST(Arrays, ViewsWithAnotherShapeAreRefused) {
  const std::vector<float> numbers(3);
  EXPECT_EQ(Encode(NdView<float>{numbers, {2, 2}}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(Arrays, OfAnotherDTypeAreRefused) {
  const Value record = Must(Encode(NdArray<float>(Shape{2})));
  const absl::Status status = Decode<std::vector<NdArray<double>>>(List{record}).status();
  EXPECT_EQ(status, absl::InvalidArgumentError("[0]: expected an array of float64, found float32"));
}

TEST(Arrays, InAFileOfAHostAreNamed) {
  const Value record = Object{
      {"_noodles", "0.3.0"}, {"type", "<object>"}, {"class", "numpy.ndarray"}, {"data", "a.npy"},
      {"ref", true},         {"host", "node1"},    {"files", List{"a.npy"}}};
  const absl::Status status = Decode<NdArray<double>>(record, {.deref = true}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("[\"a.npy\"] on node1"));
}

// A ref to 0, 1, … as int64.
Value RangeRef(FakeBlobs& blobs, size_t n) {
  const std::vector<int64_t> numbers = Range(n);
  return Client::RefRecord(
      Must(blobs.Put("int64", {n}, {reinterpret_cast<const char*>(numbers.data()), n * 8})));
}

TEST(Refs, ArePlaceholdersWithoutDeref) {
  const auto blobs = std::make_shared<FakeBlobs>();
  const Value record = RangeRef(*blobs, 10);
  const absl::Status status = Decode<NdArray<int64_t>>(record, {.blobs = blobs}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("it is a ref to 4Z8kdMg-"));

  const auto ref = Must(Decode<Ref<NdArray<int64_t>>>(record, {.blobs = blobs}));
  EXPECT_EQ(blobs->fetches, 0);
  EXPECT_TRUE(ref.elsewhere());
  EXPECT_EQ(ref.ToText(),
            "Ref(numpy.ndarray, 4Z8kdMg-CbjgTKKYlz6b-_-Tsda5VAJL44OheRB10mU= int64 [10])");
  EXPECT_EQ(Must(Encode(ref)), record);
  EXPECT_EQ(Must(ref.Deref()), NdArray<int64_t>({10}, Range(10)));
  EXPECT_EQ(blobs->fetches, 1);
}

TEST(Refs, StreamIntoTheCallersMemory) {
  const auto blobs = std::make_shared<FakeBlobs>();
  const auto ref = Must(Decode<Ref<NdArray<int64_t>>>(RangeRef(*blobs, 100), {.blobs = blobs}));
  std::vector<int64_t> memory(100);
  EXPECT_EQ(ref.DerefInto(std::span(memory)), absl::OkStatus());
  EXPECT_EQ(memory, Range(100));
  std::vector<int64_t> small(99);
  EXPECT_EQ(ref.DerefInto(std::span(small)).code(), absl::StatusCode::kInvalidArgument);
  std::vector<double> other(100);
  EXPECT_EQ(ref.DerefInto(std::span(other)).code(), absl::StatusCode::kInvalidArgument);
}

TEST(Refs, StreamBytesIntoTheCallersMemory) {
  const auto blobs = std::make_shared<FakeBlobs>();
  const std::vector<std::byte> bytes(10000, std::byte{7});
  const Value record = Must(Encode(bytes, {.blobs = blobs}));
  const auto ref = Must(Decode<Ref<std::vector<std::byte>>>(record, {.blobs = blobs}));
  EXPECT_TRUE(ref.elsewhere());
  std::vector<std::byte> memory(10000);
  EXPECT_EQ(ref.DerefInto(std::span(memory)), absl::OkStatus());
  EXPECT_EQ(memory, bytes);
  memory.pop_back();
  EXPECT_EQ(ref.DerefInto(std::span(memory)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Ref<std::vector<std::byte>>().DerefInto(std::span(memory)).code(),
            absl::StatusCode::kFailedPrecondition);

  // Of an array: its bytes, whatever its elements are.
  const auto array = Must(Decode<Ref<NdArray<int64_t>>>(RangeRef(*blobs, 100), {.blobs = blobs}));
  std::vector<int64_t> elements(100);
  EXPECT_EQ(array.DerefInto(std::as_writable_bytes(std::span(elements))), absl::OkStatus());
  EXPECT_EQ(elements, Range(100));
}

TEST(Refs, ReportBytesThatAreMissing) {
  const auto blobs = std::make_shared<FakeBlobs>();
  const Value record = RangeRef(*blobs, 100);
  blobs->Cut(**RefOf(*record.if_object()));
  const auto ref = Must(Decode<Ref<NdArray<int64_t>>>(record, {.blobs = blobs}));
  EXPECT_EQ(ref.Deref().status().code(), absl::StatusCode::kDataLoss);
}

TEST(Refs, OfWhatIsHereHoldIt) {
  const auto ref = Must(Decode<Ref<int>>(Value(3)));
  EXPECT_FALSE(ref.elsewhere());
  EXPECT_EQ(Must(ref.Deref()), 3);
}

TEST(Refs, StandInAnyPlace) {
  const auto blobs = std::make_shared<FakeBlobs>();
  const Value record = RangeRef(*blobs, 10);
  const auto refs = Must(Decode<std::map<std::string, Ref<NdArray<int64_t>>>>(
      Object{{"a", record}, {"b", record}}, {.blobs = blobs}));
  EXPECT_EQ(refs.at("b").record(), record);
  using Array = Ref<NdArray<int64_t>>;
  EXPECT_EQ(Must(Decode<std::optional<Array>>(record, {.blobs = blobs}))->record(), record);
  EXPECT_EQ(std::get<Array>(Must(Decode<std::variant<int64_t, Array>>(record, {.blobs = blobs})))
                .record(),
            record);
}

}  // namespace
}  // namespace tiffin
