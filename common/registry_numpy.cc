// numpy's arrays, scalars and ufuncs.
#include <optional>
#include <utility>

#include "common/base64.h"
#include "common/registries.h"
#include "common/shape_check.h"
#include "common/strings.h"

namespace tiffin {
namespace {

// A readable `.npy` (of Python objects too: it is kept opaque).
absl::Status InlineNpy(const Value& data, const PathLink& where) {
  TIFFIN_RETURN_IF_ERROR(AnyString(data, where));
  const std::optional<std::string> npy = Base64Decode(*data.if_string());
  if (!npy) return BadRecord(where, "expected canonical base64");
  const absl::StatusOr<NpyHeader> header = ReadNpyHeader(*npy);
  if (!header.ok()) return Annotate(header.status(), where.text());
  if (header->dtype.has_object()) return absl::OkStatus();
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, ArrayBytes(header->dtype, header->shape));
  const size_t found = npy->size() - header->data_offset;
  if (found == size) return absl::OkStatus();
  return BadRecord(where, StrCat("npy: ", found, " bytes of data instead of ", size));
}

// Noodles' three encodings: base64 of an `.npy`; the name of an `.npy` file; a dataset of an HDF5
// file, by the seed's `hdf5_path` or Noodles' `path`.
class ArraySerialiser : public RecordSerialiser {
 public:
  absl::Status Check(const Object& record, const std::optional<RecordRef>& ref,
                     const PathLink& where) const override {
    const PathLink data_path(where, "data");
    const Value* data = record.Find("data");
    if (data == nullptr) return BadRecord(data_path, "is missing");
    if (ref.has_value()) return absl::OkStatus();
    if (!NamesFiles(record)) return InlineNpy(*data, data_path);
    if (data->if_string()) return absl::OkStatus();
    TIFFIN_RETURN_IF_ERROR(CheckMembers(*data, data_path, {{"filename", AnyString}}));
    const bool by_seed = data->if_object()->Find("hdf5_path") != nullptr;
    return CheckMembers(*data, data_path, {{by_seed ? "hdf5_path" : "path", AnyString}});
  }

  std::string Keeps() const override { return "a readable .npy from inline_limit on as an array"; }
};

absl::Status BytesRecord(const Value& value, const PathLink& where) {
  return CheckRecordOf(value, kBytesClass, where);
}

// The number of bytes that a bytes record stands for, inline or as a ref; nullopt if it is
// malformed, which its own serialiser will say.
std::optional<uint64_t> BytesOf(const Object& record) {
  if (const std::optional<std::string> bytes = InlineBytes(record)) return bytes->size();
  const absl::StatusOr<std::optional<RecordRef>> ref = RefOf(record);
  if (!ref.ok() || !ref->has_value()) return std::nullopt;
  return RefSize(**ref);
}

// Classes of scalars: the kind of their dtype, and its bytes; 0: of any size.
struct ScalarClass {
  std::string_view name;
  char kind;
  uint64_t bytes;
};
constexpr ScalarClass kScalarClasses[] = {
    {"bool_", 'b', 1},       {"bool", 'b', 1},        {"int8", 'i', 1},
    {"int16", 'i', 2},       {"int32", 'i', 4},       {"int64", 'i', 8},
    {"longlong", 'i', 8},    {"uint8", 'u', 1},       {"uint16", 'u', 2},
    {"uint32", 'u', 4},      {"uint64", 'u', 8},      {"ulonglong", 'u', 8},
    {"float16", 'f', 2},     {"float32", 'f', 4},     {"float64", 'f', 8},
    {"longdouble", 'f', 0},  {"float128", 'f', 16},   {"complex64", 'c', 8},
    {"complex128", 'c', 16}, {"clongdouble", 'c', 0}, {"complex256", 'c', 32},
    {"str_", 'U', 0},        {"bytes_", 'S', 0},      {"void", 'V', 0},
    {"record", 'V', 0},      {"datetime64", 'M', 8},  {"timedelta64", 'm', 8}};

// {"dtype": "float64", "bytes": <bytes record>}
absl::Status Scalar(const Value& data, const PathLink& where) {
  TIFFIN_RETURN_IF_ERROR(CheckMembers(data, where, {{"dtype", AnyString}, {"bytes", BytesRecord}}));
  const absl::StatusOr<DType> dtype = ParseDType(*data.if_object()->Find("dtype")->if_string());
  if (!dtype.ok()) return Annotate(dtype.status(), PathLink(where, "dtype").text());
  const std::optional<uint64_t> bytes = BytesOf(*data.if_object()->Find("bytes")->if_object());
  if (!bytes || *bytes == dtype->total_size()) return absl::OkStatus();
  return BadRecord(PathLink(where, "bytes"), StrCat("expected ", dtype->total_size(), " bytes of ",
                                                    DTypeName(*dtype), ", found ", *bytes));
}

class ScalarSerialiser : public RecordSerialiser {
 public:
  absl::Status Check(const Object& record, const std::optional<RecordRef>& ref,
                     const PathLink& where) const override {
    TIFFIN_RETURN_IF_ERROR(shape_->Check(record, ref, where));
    if (ref.has_value()) return absl::OkStatus();
    const Value* dtype_text = record.Find("data")->if_object()->Find("dtype");
    TIFFIN_ASSIGN_OR_RETURN(const DType dtype, ParseDType(*dtype_text->if_string()));
    const std::string class_name(RecordClass(record));
    for (const ScalarClass& scalar : kScalarClasses) {
      if (class_name != StrCat("numpy.", scalar.name)) continue;
      if (dtype.kind == scalar.kind && (scalar.bytes == 0 || scalar.bytes == dtype.total_size()))
        break;
      return BadRecord(PathLink(PathLink(where, "data"), "dtype"),
                       StrCat(DTypeName(dtype), " is not that of a ", class_name));
    }
    return absl::OkStatus();
  }
  std::string Keeps() const override { return "as it is"; }

 private:
  const SerialiserPtr shape_ = MakeShapedSerialiser(Scalar, "as it is");
};

}  // namespace

Registry NumpyRegistry() {
  Registry registry;
  registry.AddClass("numpy.ndarray", std::make_shared<ArraySerialiser>());
  registry.AddClass("numpy.generic", std::make_shared<ScalarSerialiser>());
  registry.AddHook("<ufunc>", MakeShapedSerialiser(QualifiedName, "as it is"));
  for (const std::string_view name : {"numpy.matrix", "numpy.memmap", "numpy.recarray",
                                      "numpy.chararray", "numpy.ma.core.MaskedArray"}) {
    registry.AddBases(name, {"numpy.ndarray"});
  }
  for (const ScalarClass& scalar : kScalarClasses) {
    registry.AddBases(StrCat("numpy.", scalar.name), {"numpy.generic"});
  }
  return registry;
}

}  // namespace tiffin
