#include "client/hdf5_array.h"

#include <H5Cpp.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <utility>
#include <vector>

#include "common/dtype.h"
#include "common/status.h"

namespace tiffin {
namespace {

// Of a type that cannot be kept.
class NoDType : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Calls that the C++ API lacks, or makes leak.
struct TypeId {
  explicit TypeId(hid_t id) : id(id) {}
  ~TypeId() { H5Tclose(id); }
  TypeId(const TypeId&) = delete;
  TypeId& operator=(const TypeId&) = delete;
  const hid_t id;
};

char OrderOf(hid_t type, size_t size) {
  if (size == 1) return '|';
  switch (H5Tget_order(type)) {
    case H5T_ORDER_LE:
      return '<';
    case H5T_ORDER_BE:
      return '>';
    default:
      throw NoDType("numbers of mixed byte order");
  }
}

DType IntegerOf(hid_t type) {
  const size_t size = H5Tget_size(type);
  if (H5Tget_precision(type) != 8 * size || (size != 1 && size != 2 && size != 4 && size != 8)) {
    throw NoDType("integers of a size that numpy has not");
  }
  return {.kind = H5Tget_sign(type) == H5T_SGN_NONE ? 'u' : 'i',
          .order = OrderOf(type, size),
          .item_size = size};
}

DType FloatOf(hid_t type) {
  const size_t size = H5Tget_size(type);
  size_t sign = 0, exponent = 0, exponent_bits = 0, mantissa = 0, mantissa_bits = 0;
  H5Tget_fields(type, &sign, &exponent, &exponent_bits, &mantissa, &mantissa_bits);
  // IEEE 754, and this machine's long double.
  const bool known = (size == 2 && exponent_bits == 5 && mantissa_bits == 10) ||
                     (size == 4 && exponent_bits == 8 && mantissa_bits == 23) ||
                     (size == 8 && exponent_bits == 11 && mantissa_bits == 52) ||
                     (size == sizeof(long double) && exponent_bits == 15 && mantissa_bits == 64);
  if (!known) throw NoDType("floats of a size that numpy has not");
  return {.kind = 'f', .order = OrderOf(type, size), .item_size = size};
}

DType EnumOf(hid_t type) {
  const TypeId base(H5Tget_super(type));
  DType dtype = IntegerOf(base.id);
  const auto value_of = [&](const char* name) {
    int64_t value = -1;
    if (H5Tenum_valueof(type, name, &value) < 0) return int64_t{-1};
    return static_cast<int64_t>(reinterpret_cast<const int8_t*>(&value)[0]);
  };
  if (dtype.item_size == 1 && H5Tget_nmembers(type) == 2 && value_of("FALSE") == 0 &&
      value_of("TRUE") == 1) {
    dtype.kind = 'b';
  }
  return dtype;
}

DType DTypeOf(hid_t type);

// A subarray's shape in front of those its items have.
DType ArrayOf(hid_t type) {
  const TypeId base(H5Tget_super(type));
  DType dtype = DTypeOf(base.id);
  std::vector<hsize_t> extents(static_cast<size_t>(H5Tget_array_ndims(type)));
  H5Tget_array_dims2(type, extents.data());
  if (!dtype.sub_shape.empty())
    dtype.inner_shapes.insert(dtype.inner_shapes.begin(), dtype.sub_shape);
  dtype.sub_shape.assign(extents.begin(), extents.end());
  return dtype;
}

DType Padding(uint64_t bytes) { return {.kind = 'V', .order = '|', .item_size = bytes}; }

DType CompoundOf(hid_t type) {
  const uint64_t size = H5Tget_size(type);
  std::vector<DTypeField> fields;
  for (int i = 0; i < H5Tget_nmembers(type); ++i) {
    const std::unique_ptr<char, decltype(&H5free_memory)> name(
        H5Tget_member_name(type, static_cast<unsigned>(i)), &H5free_memory);
    const TypeId member(H5Tget_member_type(type, static_cast<unsigned>(i)));
    if (!name) throw NoDType("a compound whose members have no names");
    fields.push_back({.name = name.get(),
                      .title = {},
                      .type = DTypeOf(member.id),
                      .offset = H5Tget_member_offset(type, static_cast<unsigned>(i))});
  }
  const auto part = [&](size_t i, const char* name, uint64_t offset) {
    const DTypeField& field = fields[i];
    return field.name == name && field.offset == offset && field.type.kind == 'f' &&
           field.type.sub_shape.empty() && field.type.item_size * 2 == size;
  };
  // numpy has no complex numbers of two half floats.
  if (fields.size() == 2 && size >= 8 && part(0, "r", 0) && part(1, "i", size / 2) &&
      fields[0].type == fields[1].type) {
    return {.kind = 'c', .order = fields[0].type.order, .item_size = size};
  }
  std::stable_sort(fields.begin(), fields.end(),
                   [](const auto& a, const auto& b) { return a.offset < b.offset; });
  DType dtype{.kind = 'V', .order = '|', .item_size = size};
  uint64_t end = 0;
  const auto pad_to = [&](uint64_t offset) {
    if (offset > end)
      dtype.fields.push_back(
          {.name = {}, .title = {}, .type = Padding(offset - end), .offset = end});
  };
  for (DTypeField& field : fields) {
    if (field.offset < end) throw NoDType("a compound whose members overlap");
    pad_to(field.offset);
    end = field.offset + field.type.total_size();
    dtype.fields.push_back(std::move(field));
  }
  pad_to(size);
  return dtype;
}

DType OpaqueOf(hid_t type) {
  const uint64_t size = H5Tget_size(type);
  char* const text = H5Tget_tag(type);
  const std::string tag = text == nullptr ? "" : text;
  H5free_memory(text);
  // As h5py names what HDF5 has no type for.
  constexpr std::string_view kNumpy = "NUMPY:";
  if (tag.starts_with(kNumpy)) {
    const absl::StatusOr<DType> named = ParseDType(std::string_view(tag).substr(kNumpy.size()));
    if (named.ok() && named->total_size() == size && !named->has_object()) return *named;
  }
  return Padding(size);
}

DType DTypeOf(hid_t type) {
  switch (H5Tget_class(type)) {
    case H5T_INTEGER:
      return IntegerOf(type);
    case H5T_FLOAT:
      return FloatOf(type);
    case H5T_ENUM:
      return EnumOf(type);
    case H5T_COMPOUND:
      return CompoundOf(type);
    case H5T_ARRAY:
      return ArrayOf(type);
    case H5T_OPAQUE:
      return OpaqueOf(type);
    case H5T_STRING:
      if (H5Tis_variable_str(type) > 0) throw NoDType("strings of variable length");
      return {.kind = 'S', .order = '|', .item_size = H5Tget_size(type)};
    default:
      throw NoDType("a type that numpy has not (variable length, references, bit fields or times)");
  }
}

// What HDF5 has no type for says what it is, in packs of tiffin. (Of others, the attribute may mean
// anything.)
std::optional<DType> DTypeNamed(const H5::DataSet& dataset, const DType& stored) {
  if (stored.kind != 'V' || !dataset.attrExists("dtype")) return std::nullopt;
  const H5::Attribute attribute = dataset.openAttribute("dtype");
  if (attribute.getTypeClass() != H5T_STRING ||
      H5Tis_variable_str(attribute.getDataType().getId()) > 0) {
    return std::nullopt;
  }
  std::string text;
  attribute.read(attribute.getStrType(), text);
  const absl::StatusOr<DType> named = ParseDType(std::string_view(text).substr(0, text.find('\0')));
  if (!named.ok() || named->has_object()) return std::nullopt;
  // HDF5 has no such type
  const bool of_no_bytes = named->total_size() == 0 && stored.total_size() == 1;
  if (named->total_size() != stored.total_size() && !of_no_bytes) return std::nullopt;
  return *named;
}

absl::StatusOr<Array> Read(const H5::DataSet& dataset) {
  const H5::DataSpace space = dataset.getSpace();
  if (H5Sget_simple_extent_type(space.getId()) == H5S_NULL)
    throw NoDType("a dataset without a shape");
  std::vector<hsize_t> extents(static_cast<size_t>(space.getSimpleExtentNdims()));
  if (!extents.empty()) space.getSimpleExtentDims(extents.data());
  const H5::DataType type = dataset.getDataType();
  Array array;
  array.shape.assign(extents.begin(), extents.end());
  DType dtype = DTypeOf(type.getId());
  if (const std::optional<DType> named = DTypeNamed(dataset, dtype)) dtype = *named;
  // Arrays have no subarrays outside of fields: their dimensions are the array's.
  dtype.inner_shapes.insert(dtype.inner_shapes.begin(), std::exchange(dtype.sub_shape, {}));
  for (const std::vector<uint64_t>& shape : std::exchange(dtype.inner_shapes, {})) {
    array.shape.insert(array.shape.end(), shape.begin(), shape.end());
  }
  array.dtype = DTypeName(dtype);
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, ArrayBytes(dtype, array.shape));
  array.bytes.resize(size);
  if (size > 0) dataset.read(array.bytes.data(), type);  // as stored: no conversion
  return array;
}

}  // namespace

absl::StatusOr<Array> ReadHdf5Array(const std::string& file, const std::string& dataset) {
  static std::mutex one;
  const std::lock_guard lock(one);
  const std::string where = StrCat(file, ": ", dataset);
  std::error_code error;
  if (!std::filesystem::exists(file, error))
    return absl::NotFoundError(StrCat(file, ": no such file"));
  try {
    H5::Exception::dontPrint();
    const H5::H5File opened(file, H5F_ACC_RDONLY);
    H5O_info_t info;
    if (dataset.empty() ||
        H5Oget_info_by_name2(opened.getId(), dataset.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT) <
            0 ||
        info.type != H5O_TYPE_DATASET) {
      return absl::NotFoundError(StrCat(where, ": no such dataset"));
    }
    absl::StatusOr<Array> array = Read(opened.openDataSet(dataset));
    if (!array.ok()) return Annotate(array.status(), where);
    return array;
  } catch (const NoDType& why) {
    return absl::InvalidArgumentError(StrCat(where, ": ", why.what()));
  } catch (const H5::Exception& why) {
    return absl::DataLossError(StrCat(where, ": HDF5 cannot read it: ", why.getDetailMsg()));
  } catch (const std::exception& why) {
    return absl::ResourceExhaustedError(StrCat(where, ": ", why.what()));
  }
}

}  // namespace tiffin
