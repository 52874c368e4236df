#include "common/npy.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>

#include "absl/strings/str_join.h"
#include "common/dtype_reader.h"
#include "common/python_literal.h"
#include "common/status.h"
#include "common/strings.h"
#include "common/utf8.h"

namespace tiffin {
namespace {

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr size_t kAlignment = 64;
constexpr size_t kMaxHeader = 256 << 10;  // four times what ParseDType takes as a name
constexpr size_t kGrowthDigits = 21;      // numpy.lib.format.GROWTH_AXIS_MAX_DIGITS

void AppendLittleEndian(uint64_t value, size_t bytes, std::string* out) {
  for (size_t i = 0; i < bytes; ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

uint64_t ReadLittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

std::string Latin1ToUtf8(std::string_view latin1) {
  std::string out;
  out.reserve(latin1.size());
  for (const char c : latin1) AppendWtf8(static_cast<uint8_t>(c), &out);
  return out;
}

std::optional<std::string> Utf8ToLatin1(std::string_view utf8) {
  std::string out;
  out.reserve(utf8.size());
  while (!utf8.empty()) {
    const CodePoint cp = DecodeUtf8(utf8);
    if (cp.length == 0 || cp.value > 0xFF) return std::nullopt;
    out.push_back(static_cast<char>(cp.value));
    utf8.remove_prefix(cp.length);
  }
  return out;
}

// Reads the dict of a header, as UTF-8, into `header`.
absl::Status ReadHeaderDict(std::string_view text, NpyHeader* header) {
  PythonReader reader(text);
  bool has_descr = false, has_order = false, has_shape = false;
  TIFFIN_RETURN_IF_ERROR(reader.Expect('{'));
  while (!reader.Take('}')) {
    TIFFIN_ASSIGN_OR_RETURN(const std::string key, reader.TakeString());
    TIFFIN_RETURN_IF_ERROR(reader.Expect(':'));
    if (key == "descr" && !has_descr) {
      has_descr = true;
      TIFFIN_ASSIGN_OR_RETURN(header->dtype, TakeDescr(&reader));
    } else if (key == "fortran_order" && !has_order) {
      has_order = true;
      TIFFIN_ASSIGN_OR_RETURN(header->fortran_order, reader.TakeBool());
    } else if (key == "shape" && !has_shape) {
      has_shape = true;
      TIFFIN_ASSIGN_OR_RETURN(header->shape, reader.TakeShape(kMaxRank));
    } else {
      return reader.Error("a key that is unknown or repeated");
    }
    if (!reader.Take(',') && !reader.Sees('}')) return reader.Error("expected ',' or '}'");
  }
  if (!reader.AtEnd()) return reader.Error("expected the end of the header");
  if (has_descr && has_order && has_shape) return absl::OkStatus();
  return reader.Error("descr, fortran_order or shape is missing");
}

template <size_t kSize>
void CopyElement(char* to, const char* from, size_t) {
  std::memcpy(to, from, kSize);
}
void CopyElementOfAnySize(char* to, const char* from, size_t size) { std::memcpy(to, from, size); }

// Copies one plane: `rows` elements that stand side by side in `from`, `row_step` apart in `to`;
// `columns` elements the other way round. In tiles, so that each cache line is used whole.
template <auto kCopy>
void TransposePlane(const char* from, char* to, size_t rows, size_t columns, size_t column_step,
                    size_t row_step, size_t size) {
  constexpr size_t kTile = 32;
  for (size_t row0 = 0; row0 < rows; row0 += kTile) {
    const size_t row_end = std::min(rows, row0 + kTile);
    for (size_t column0 = 0; column0 < columns; column0 += kTile) {
      const size_t column_end = std::min(columns, column0 + kTile);
      for (size_t row = row0; row < row_end; ++row) {
        for (size_t column = column0; column < column_end; ++column) {
          kCopy(to + row * row_step + column * size, from + column * column_step + row * size,
                size);
        }
      }
    }
  }
}

using Transpose = void (*)(const char*, char*, size_t, size_t, size_t, size_t, size_t);

Transpose TransposeFor(size_t element_size) {
  switch (element_size) {
    case 1:
      return TransposePlane<CopyElement<1>>;
    case 2:
      return TransposePlane<CopyElement<2>>;
    case 4:
      return TransposePlane<CopyElement<4>>;
    case 8:
      return TransposePlane<CopyElement<8>>;
    case 16:
      return TransposePlane<CopyElement<16>>;
    default:
      return TransposePlane<CopyElementOfAnySize>;
  }
}

// Brings Fortran-order elements to C order. The first axis is the fastest in `from`, the last in
// the result: these two make planes, and the axes between them count the planes.
std::string ToCOrder(std::string_view from, const Shape& full_shape, size_t size) {
  Shape shape;
  std::copy_if(full_shape.begin(), full_shape.end(), std::back_inserter(shape),
               [](uint64_t n) { return n != 1; });
  const size_t rank = shape.size();
  if (rank < 2 || from.empty()) return std::string(from);

  std::vector<size_t> from_step(rank), to_step(rank);  // bytes from one index to the next
  from_step[0] = to_step[rank - 1] = size;
  for (size_t i = 1; i < rank; ++i) {
    from_step[i] = from_step[i - 1] * shape[i - 1];
    to_step[rank - 1 - i] = to_step[rank - i] * shape[rank - i];
  }

  std::string to(from.size(), '\0');
  const Transpose transpose = TransposeFor(size);
  std::vector<uint64_t> index(rank, 0);  // of the axes between; first and last stay 0
  size_t from_offset = 0, to_offset = 0;
  while (true) {
    transpose(from.data() + from_offset, to.data() + to_offset, shape[0], shape[rank - 1],
              from_step[rank - 1], to_step[0], size);
    size_t axis = 1;
    for (; axis < rank - 1; ++axis) {
      from_offset += from_step[axis];
      to_offset += to_step[axis];
      if (++index[axis] < shape[axis]) break;
      from_offset -= from_step[axis] * shape[axis];
      to_offset -= to_step[axis] * shape[axis];
      index[axis] = 0;
    }
    if (axis >= rank - 1) return to;
  }
}

std::string PaddedHeader(std::string_view text, uint8_t version) {
  const size_t length_bytes = version == 1 ? 2 : 4;
  const size_t before = kMagic.size() + 2 + length_bytes;
  const size_t unpadded = before + text.size() + 1;
  const size_t padding = kAlignment - unpadded % kAlignment;  // never 0, as in numpy
  std::string out(kMagic);
  out.push_back(static_cast<char>(version));
  out.push_back('\0');
  AppendLittleEndian(text.size() + 1 + padding, length_bytes, &out);
  out += text;
  out.append(padding, ' ');
  out.push_back('\n');
  return out;
}

}  // namespace

std::string BlobName::ToText() const {
  return StrCat(key.ToText(), " ", dtype, " [", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<uint64_t> ArrayBytes(const DType& dtype, const Shape& shape) {
  if (shape.size() > kMaxRank) {
    return absl::InvalidArgumentError(
        StrCat(shape.size(), " dimensions, more than the limit of ", kMaxRank));
  }
  // Zeros count as ones at first: (0, 2^62) is absurd although it holds nothing.
  uint64_t bytes = std::max<uint64_t>(dtype.total_size(), 1);
  bool empty = dtype.total_size() == 0;
  for (const uint64_t n : shape) {
    if (n == 0) empty = true;
    if (n > (kMaxBlobBytes - 1) / bytes) {
      return absl::InvalidArgumentError(StrCat("an array of shape [", absl::StrJoin(shape, ", "),
                                               "] and ", dtype.total_size(),
                                               " bytes per element has 2^48 bytes or more"));
    }
    bytes *= std::max<uint64_t>(n, 1);
  }
  return empty ? 0 : bytes;
}

Sha256 StartBlobKey(std::string_view dtype_name, const Shape& shape) {
  Sha256 hash;
  std::string start(dtype_name);
  for (const uint64_t n : shape) AppendLittleEndian(n, 8, &start);
  hash.Update(start);
  return hash;
}

Digest BlobKey(std::string_view dtype_name, const Shape& shape, std::string_view c_order_bytes) {
  Sha256 hash = StartBlobKey(dtype_name, shape);
  hash.Update(c_order_bytes);
  return hash.Finish();
}

BlobName BytesBlobName(std::string_view bytes) {
  const Shape shape = {bytes.size()};
  return {BlobKey("|V1", shape, bytes), "|V1", shape};
}

bool IsNpy(std::string_view bytes) { return bytes.starts_with(kMagic); }

absl::StatusOr<NpyHeader> ReadNpyHeader(std::string_view bytes) {
  const auto malformed = [](std::string_view what) {
    return absl::InvalidArgumentError(StrCat("npy header: ", what));
  };
  if (!IsNpy(bytes)) return malformed("does not start with the magic");
  bytes.remove_prefix(kMagic.size());
  if (bytes.size() < 2) return malformed("cut short");
  const int version = static_cast<uint8_t>(bytes[0]);
  if (version < 1 || version > 3 || bytes[1] != 0) return malformed("a version that is unknown");
  const size_t length_bytes = version == 1 ? 2 : 4;
  if (bytes.size() < 2 + length_bytes) return malformed("cut short");
  const uint64_t length = ReadLittleEndian(bytes.substr(2, length_bytes));
  bytes.remove_prefix(2 + length_bytes);
  if (length > kMaxHeader) return malformed(StrCat("longer than ", kMaxHeader, " bytes"));
  if (bytes.size() < length) return malformed("cut short");

  const std::string_view raw = bytes.substr(0, length);
  const std::string text = version < 3 ? Latin1ToUtf8(raw) : ToValidUtf8(raw);
  if (version == 3 && text != raw) return malformed("not UTF-8");
  NpyHeader header;
  header.data_offset = kMagic.size() + 2 + length_bytes + length;
  TIFFIN_RETURN_IF_ERROR(Annotate(ReadHeaderDict(text, &header), "npy header"));
  TIFFIN_RETURN_IF_ERROR(Annotate(ArrayBytes(header.dtype, header.shape).status(), "npy header"));
  if (DTypeName(header.dtype).size() > kMaxDTypeName) return malformed("a dtype that is too long");
  return header;
}

absl::StatusOr<Array> ReadNpy(std::string_view bytes) {
  TIFFIN_ASSIGN_OR_RETURN(const NpyHeader header, ReadNpyHeader(bytes));
  if (header.dtype.has_object()) {
    return absl::InvalidArgumentError("npy: an array of Python objects");
  }
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, ArrayBytes(header.dtype, header.shape));
  const std::string_view data = bytes.substr(header.data_offset);
  if (data.size() != size) {
    return absl::InvalidArgumentError(
        StrCat("npy: ", data.size(), " bytes of data instead of ", size));
  }
  return Array{DTypeName(header.dtype), header.shape,
               header.fortran_order ? ToCOrder(data, header.shape, header.dtype.total_size())
                                    : std::string(data)};
}

absl::StatusOr<std::string> NpyHeaderText(std::string_view dtype_name, const Shape& shape) {
  TIFFIN_ASSIGN_OR_RETURN(const DType dtype, ParseDType(dtype_name));
  TIFFIN_RETURN_IF_ERROR(ArrayBytes(dtype, shape).status());
  std::string text = StrCat("{'descr': ", DTypeDescr(dtype),
                            ", 'fortran_order': False, 'shape': ", PythonRepr(shape), ", }");
  // numpy leaves room for the first dimension to grow in place.
  if (!shape.empty()) text.append(kGrowthDigits - StrCat(shape[0]).size(), ' ');
  const std::optional<std::string> latin1 = Utf8ToLatin1(text);
  if (!latin1) return PaddedHeader(text, 3);
  std::string header = PaddedHeader(*latin1, 1);
  constexpr size_t kMaxVersion1 = 10 + 0xFFFF;
  return header.size() <= kMaxVersion1 ? header : PaddedHeader(*latin1, 2);
}

absl::StatusOr<std::string> WriteNpy(const Array& array) {
  TIFFIN_ASSIGN_OR_RETURN(std::string out, NpyHeaderText(array.dtype, array.shape));
  TIFFIN_ASSIGN_OR_RETURN(const DType dtype, ParseDType(array.dtype));
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, ArrayBytes(dtype, array.shape));
  if (array.bytes.size() != size) {
    return absl::InvalidArgumentError(
        StrCat("an array of ", size, " bytes with ", array.bytes.size(), " bytes of data"));
  }
  out.reserve(out.size() + array.bytes.size());
  out += array.bytes;
  return out;
}

}  // namespace tiffin
