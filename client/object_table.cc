#include "client/object_table.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>

#include "client/object_array.h"
#include "client/objects.h"  // Encode and Decode
#include "common/cbor.h"
#include "common/serialiser.h"
#include "common/utf8.h"

namespace tiffin {

absl::StatusOr<Value> EncodeText(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = DecodeUtf8(text.substr(at)).length;
    if (length == 0) {
      return absl::InvalidArgumentError(StrCat("a string that is no UTF-8, from its byte ", at,
                                               " on; bytes go as a vector<byte>"));
    }
    at += length;
  }
  return Value(std::string(text));
}

absl::Status SortPairs(List* pairs) {
  std::vector<std::pair<std::string, Value>> keyed;
  for (Value& pair : *pairs) {
    TIFFIN_ASSIGN_OR_RETURN(std::string key, EncodeCbor((*pair.if_list())[0]));
    keyed.emplace_back(std::move(key), std::move(pair));
  }
  std::sort(keyed.begin(), keyed.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  for (size_t i = 0; i < keyed.size(); ++i) (*pairs)[i] = std::move(keyed[i].second);
  return absl::OkStatus();
}

std::optional<std::pair<bool, uint64_t>> SignAndMagnitude(const Value& value) {
  if (const int64_t* i = value.if_int64()) {
    return std::make_pair(
        *i < 0, *i < 0 ? uint64_t{0} - static_cast<uint64_t>(*i) : static_cast<uint64_t>(*i));
  }
  const BigInteger* big = value.if_big_integer();
  if (big == nullptr || big->digits.starts_with('-')) return std::nullopt;  // below -2^63
  errno = 0;
  const uint64_t magnitude = std::strtoull(big->digits.c_str(), nullptr, 10);
  if (errno == ERANGE) return std::nullopt;
  return std::make_pair(false, magnitude);
}

absl::StatusOr<const Value*> DataOf(const Value& value,
                                    std::initializer_list<std::string_view> classes,
                                    const PathLink& where, const Decoder& decoder) {
  for (const std::string_view name : classes) {
    if (!IsRecordOf(value, kObjectType, name)) continue;
    const Value* data = value.if_object()->Find("data");
    if (data == nullptr) return BadRecord(PathLink(where, "data"), "is missing");
    return data;
  }
  return decoder.Expected(where, StrCat("a record ", kObjectType, " ", *classes.begin()), value);
}

absl::StatusOr<const List*> ListOf(const Value& value,
                                   std::initializer_list<std::string_view> classes,
                                   const PathLink& where, const Decoder& decoder,
                                   std::optional<size_t> size) {
  TIFFIN_ASSIGN_OR_RETURN(const Value* data, DataOf(value, classes, where, decoder));
  const List* list = data->if_list();
  const PathLink data_path(where, "data");
  if (list == nullptr) return ExpectedError(data_path, "a list", *data);
  if (size.has_value() && list->size() != *size) {
    return BadRecord(data_path, StrCat("expected ", *size, " items, found ", list->size()));
  }
  return list;
}

absl::StatusOr<int64_t> NanosecondsOf(const Value& value, std::string_view class_name,
                                      const PathLink& where, const Decoder& decoder) {
  TIFFIN_ASSIGN_OR_RETURN(const Value* data, DataOf(value, {class_name}, where, decoder));
  if (const int64_t* count = data->if_int64()) return *count;
  return ExpectedError(PathLink(where, "data"), "an integer of 64 bits", *data);
}

absl::StatusOr<Value> Codec<BigInteger>::Encode(const BigInteger& i, const Encoder&) {
  // Those of 64 bits are plain: a Value has one form for each number.
  const std::string_view digits(i.digits);
  const std::string_view unsigned_digits = digits.substr(digits.starts_with('-') ? 1 : 0);
  const bool zero_first = unsigned_digits.size() > 1 && unsigned_digits[0] == '0';
  if (unsigned_digits.empty() || zero_first ||
      unsigned_digits.find_first_not_of("0123456789") != std::string_view::npos) {
    return absl::InvalidArgumentError(StrCat("\"", i.digits, "\" is no integer"));
  }
  int64_t small = 0;
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), small);
  return read.ec == std::errc() ? Value(small) : Value(i);
}

absl::StatusOr<BigInteger> Codec<BigInteger>::Decode(const Value& value, const PathLink& where,
                                                     const Decoder&) {
  if (const BigInteger* big = value.if_big_integer()) return *big;
  if (const int64_t* i = value.if_int64()) return BigInteger{StrCat(*i)};
  return ExpectedError(where, "an integer", value);
}

absl::StatusOr<Value> EncodeBytes(const std::vector<std::byte>& bytes, const Encoder& encoder) {
  return encoder.EncodeArray(kBytesClass, kBytesDType, {bytes.size()},
                             {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
}

absl::StatusOr<std::vector<std::byte>> DecodeBytes(const Value& value, const PathLink& where,
                                                   const Decoder& decoder) {
  TIFFIN_RETURN_IF_ERROR(DataOf(value, {kBytesClass}, where, decoder).status());
  TIFFIN_ASSIGN_OR_RETURN(const ArrayOutline outline, OutlineOf(value, where, decoder));
  std::vector<std::byte> bytes(ElementsOf(outline.name.shape));
  TIFFIN_RETURN_IF_ERROR(ReadArray(outline, kBytesDType, where, decoder,
                                   reinterpret_cast<char*>(bytes.data()), bytes.size()));
  return bytes;
}

absl::StatusOr<Value> EncodePath(const std::filesystem::path& path, const Encoder& encoder) {
  return Pack(&encoder, kObjectType, "pathlib.PosixPath")(path.string(), {.files = {path}});
}

absl::StatusOr<std::filesystem::path> DecodePath(const Value& value, const PathLink& where,
                                                 const Decoder& decoder) {
  TIFFIN_ASSIGN_OR_RETURN(
      const Value* data,
      DataOf(value, {"pathlib.PosixPath", "pathlib.PurePosixPath", "pathlib.Path"}, where,
             decoder));
  if (const std::string* path = data->if_string()) return std::filesystem::path(*path);
  return ExpectedError(PathLink(where, "data"), "a string", *data);
}

}  // namespace tiffin
