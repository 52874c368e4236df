#include "client/cli/array_text.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <string>
#include <string_view>

#include "common/dtype.h"
#include "common/utf8.h"

namespace tiffin::cli {
namespace {

// The bytes of one number in the machine's order (little-endian, as '=' and '<' are).
uint64_t ReadWord(std::string_view bytes, bool big_endian) {
  uint64_t word = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    const size_t at = big_endian ? i : bytes.size() - 1 - i;
    word = word << 8 | static_cast<uint8_t>(bytes[at]);
  }
  return word;
}

// IEEE 754 binary16.
double HalfToDouble(uint64_t word) {
  const double sign = (word & 0x8000) != 0 ? -1 : 1;
  const int exponent = static_cast<int>(word >> 10 & 0x1F);
  const auto fraction = static_cast<double>(word & 0x3FF);
  if (exponent == 31) return fraction == 0 ? sign * INFINITY : NAN;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

double ReadFloat(std::string_view bytes, bool big_endian) {
  const uint64_t word = ReadWord(bytes, big_endian);
  if (bytes.size() == 2) return HalfToDouble(word);
  if (bytes.size() == 4) return std::bit_cast<float>(static_cast<uint32_t>(word));
  return std::bit_cast<double>(word);
}

int64_t ReadInteger(std::string_view bytes, bool big_endian) {
  const auto shift = static_cast<unsigned>(64 - 8 * bytes.size());
  return static_cast<int64_t>(ReadWord(bytes, big_endian) << shift) >> shift;
}

// numpy's text: UTF-32, padded with zeros.
std::string ReadText(std::string_view bytes, bool big_endian) {
  std::string text;
  size_t end = bytes.size() / 4;
  while (end > 0 && ReadWord(bytes.substr(4 * end - 4, 4), big_endian) == 0) --end;
  for (size_t i = 0; i < end; ++i) {
    const uint64_t point = ReadWord(bytes.substr(4 * i, 4), big_endian);
    AppendWtf8(point <= 0x10FFFF ? static_cast<uint32_t>(point) : 0xFFFD, &text);
  }
  return text;
}

Value ReadElement(const DType& dtype, std::string_view bytes) {
  const bool big = dtype.order == '>';
  const size_t half = bytes.size() / 2;
  switch (dtype.kind) {
    case 'b':
      return bytes[0] != 0;
    case 'i':
      return ReadInteger(bytes, big);
    case 'u':
      return ReadWord(bytes, big);
    case 'f':
      return ReadFloat(bytes, big);
    case 'c':
      return List{ReadFloat(bytes.substr(0, half), big), ReadFloat(bytes.substr(half), big)};
    case 'U':
      return ReadText(bytes, big);
    default: {
      const size_t end = bytes.find_last_not_of('\0');
      return ToValidUtf8(bytes.substr(0, end == std::string_view::npos ? 0 : end + 1));
    }
  }
}

bool Readable(const DType& dtype) {
  switch (dtype.kind) {
    case 'b':
    case 'i':
    case 'u':
      return dtype.item_size <= 8;
    case 'f':
      return dtype.item_size <= 8;  // not long double
    case 'c':
      return dtype.item_size <= 16;
    default:
      return dtype.kind == 'S' || dtype.kind == 'U';
  }
}

// Takes the elements of one sub-array off `*bytes`.
Value TakeLevel(const DType& dtype, const Shape& shape, size_t level, std::string_view* bytes) {
  if (level == shape.size()) {
    Value element = ReadElement(dtype, bytes->substr(0, dtype.item_size));
    bytes->remove_prefix(dtype.item_size);
    return element;
  }
  List items;
  for (uint64_t i = 0; i < shape[level]; ++i) {
    items.push_back(TakeLevel(dtype, shape, level + 1, bytes));
  }
  return items;
}

}  // namespace

std::optional<Value> ArrayValues(const Array& array) {
  const absl::StatusOr<DType> dtype = ParseDType(array.dtype);
  if (!dtype.ok() || dtype->item_size == 0 || !Readable(*dtype)) return std::nullopt;
  const absl::StatusOr<uint64_t> size = ArrayBytes(*dtype, array.shape);
  if (!size.ok() || *size != array.bytes.size()) return std::nullopt;
  std::string_view bytes = array.bytes;
  return TakeLevel(*dtype, array.shape, 0, &bytes);
}

}  // namespace tiffin::cli
