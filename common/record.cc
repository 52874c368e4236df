#include "common/record.h"

#include <algorithm>
#include <array>

#include "absl/status/status.h"
#include "common/base64.h"
#include "common/status.h"
#include "common/strings.h"

namespace tiffin {
namespace {

constexpr std::string_view kNpyMagicInBase64 =
    "k05VTVBZ";  // the magic's six bytes, no more, no less

bool IsMemberOfRecords(std::string_view name) {
  constexpr std::array<std::string_view, 7> kMembers = {"_noodles", "type", "class", "data",
                                                        "ref",      "host", "files"};
  return std::find(kMembers.begin(), kMembers.end(), name) != kMembers.end();
}

// The text of a string member; "" if it is absent or anything else.
std::string_view StringMember(const Object& object, std::string_view name) {
  const Value* member = object.Find(name);
  const std::string* text = member == nullptr ? nullptr : member->if_string();
  return text == nullptr ? std::string_view() : std::string_view(*text);
}

bool IsTruthyMember(const Object& object, std::string_view name) {
  const Value* member = object.Find(name);
  return member != nullptr && member->Truthy();
}

// The text of `data`, if that is a string of an <object> record; else nullptr.
const std::string* ObjectText(const Object& record) {
  if (RecordType(record) != kObjectType) return nullptr;
  const Value* data = record.Find("data");
  return data == nullptr ? nullptr : data->if_string();
}

absl::Status BadMember(const std::string& path, std::string_view what) {
  return absl::InvalidArgumentError(StrCat(path, ": ", what));
}

absl::StatusOr<Digest> DigestOf(const Value& text, const std::string& path) {
  const std::string* s = text.if_string();
  if (s == nullptr) return BadMember(path, StrCat("expected a string, found ", text.KindName()));
  absl::StatusOr<Digest> digest = Digest::FromText(*s);
  if (!digest.ok()) return Annotate(digest.status(), path);
  return digest;
}

absl::StatusOr<Shape> ShapeOf(const Value& value) {
  const List* list = value.if_list();
  if (list == nullptr) {
    return BadMember("data.shape", StrCat("expected a list, found ", value.KindName()));
  }
  if (list->size() > kMaxRank) {
    return BadMember("data.shape",
                     StrCat(list->size(), " dimensions, more than the limit of ", kMaxRank));
  }
  Shape shape;
  for (const Value& item : *list) {
    const int64_t* n = item.if_int64();
    if (n == nullptr || *n < 0) {
      return BadMember(StrCat("data.shape[", shape.size(), "]"),
                       "expected an integer from 0 to below 2^63");
    }
    shape.push_back(static_cast<uint64_t>(*n));
  }
  return shape;
}

absl::Status CheckArray(const BlobName& name) {
  const absl::StatusOr<DType> dtype = ParseDType(name.dtype);
  if (!dtype.ok()) return Annotate(dtype.status(), "data.dtype");
  if (dtype->has_object()) return BadMember("data.dtype", "Python objects cannot be kept");
  if (const std::string canonical = DTypeName(*dtype); canonical != name.dtype) {
    return BadMember("data.dtype", StrCat("expected \"", canonical, "\", numpy's str()"));
  }
  return Annotate(ArrayBytes(*dtype, name.shape).status(), "data.shape");
}

absl::StatusOr<BlobName> BlobNameOf(const Object& data, bool bytes) {
  BlobName name;
  TIFFIN_ASSIGN_OR_RETURN(name.key, DigestOf(*data.Find("hdf5_path"), "data.hdf5_path"));
  if (data.Find("dtype")->if_string() == nullptr)
    return BadMember("data.dtype", "expected a string");
  name.dtype = *data.Find("dtype")->if_string();
  TIFFIN_ASSIGN_OR_RETURN(name.shape, ShapeOf(*data.Find("shape")));
  TIFFIN_RETURN_IF_ERROR(CheckArray(name));
  if (bytes && name.dtype != kBytesDType)
    return BadMember("data.dtype", "bytes have the dtype |V1");
  if (bytes && name.shape.size() != 1) return BadMember("data.shape", "bytes have one dimension");
  return name;
}

absl::StatusOr<ValueRef> ValueRefOf(const Object& data) {
  ValueRef ref;
  TIFFIN_ASSIGN_OR_RETURN(ref.value, DigestOf(*data.Find("value"), "data.value"));
  const int64_t* size = data.Find("size")->if_int64();
  if (size == nullptr || *size < 0 || static_cast<uint64_t>(*size) >= kMaxBlobBytes) {
    return BadMember("data.size", "expected an integer from 0 to below 2^48");
  }
  ref.size = static_cast<uint64_t>(*size);
  return ref;
}

bool LooksLikeBlobName(const Object& data) {
  return data.size() == 3 && data.Find("hdf5_path") && data.Find("dtype") && data.Find("shape");
}

bool LooksLikeValueRef(const Object& data) {
  if (data.size() != 2) return false;
  const Value* value = data.Find("value");
  const Value* size = data.Find("size");
  return value != nullptr && value->if_string() && size != nullptr && size->is_integer();
}

}  // namespace

bool IsRecord(const Object& object) {
  const Value* type = object.Find("type");
  return object.size() <= 7 && type != nullptr && type->if_string() != nullptr &&
         object.Find("_noodles") != nullptr &&
         std::all_of(object.begin(), object.end(),
                     [](const Object::Member& m) { return IsMemberOfRecords(m.first); });
}

const Object* AsRecord(const Value& value) {
  const Object* object = value.if_object();
  return object != nullptr && object->size() <= 7 && IsRecord(*object) ? object : nullptr;
}

std::string_view RecordType(const Object& record) { return StringMember(record, "type"); }
std::string_view RecordClass(const Object& record) { return StringMember(record, "class"); }

bool IsRecordOf(const Value& value, std::string_view type, std::string_view class_name) {
  const Object* record = AsRecord(value);
  return record != nullptr && RecordType(*record) == type && RecordClass(*record) == class_name;
}

bool IsWorkflow(const Value& value) {
  return IsRecordOf(value, kObjectType, kPromisedObjectClass) ||
         IsRecordOf(value, kObjectType, kWorkflowClass);
}

bool NamesFiles(const Object& record) { return IsTruthyMember(record, "files"); }
bool HasRef(const Object& record) { return IsTruthyMember(record, "ref"); }

namespace {

// A ref of the second form has lost its files; one that names some is the user's own, unless its
// value is a digest.
bool IsForFiles(const Object& record, const Object& data) {
  if (!NamesFiles(record) || !LooksLikeValueRef(data)) return false;
  return !DigestOf(*data.Find("value"), "data.value").ok();
}

}  // namespace

absl::StatusOr<std::optional<RecordRef>> RefOf(const Object& record) {
  const Value* member = record.Find("data");
  const Object* data = member == nullptr ? nullptr : member->if_object();
  if (data == nullptr || data->size() > 3 || !HasRef(record) || IsForFiles(record, *data))
    return std::nullopt;
  if (LooksLikeBlobName(*data) && RecordType(record) == kObjectType) {
    TIFFIN_ASSIGN_OR_RETURN(BlobName name, BlobNameOf(*data, RecordClass(record) == kBytesClass));
    return RecordRef(std::move(name));
  }
  if (LooksLikeValueRef(*data)) {
    TIFFIN_ASSIGN_OR_RETURN(const ValueRef ref, ValueRefOf(*data));
    return RecordRef(ref);
  }
  return std::nullopt;
}

absl::StatusOr<std::optional<RecordRef>> RefOf(const Object& record, const PathLink& where) {
  absl::StatusOr<std::optional<RecordRef>> ref = RefOf(record);
  if (ref.ok()) return ref;
  const std::string path = where.text();  // to which the message, `data.shape: …`, is relative
  return absl::Status(ref.status().code(),
                      StrCat(path, path.empty() ? "" : ".", ToStd(ref.status().message())));
}

Value RefData(const RecordRef& ref) {
  if (const ValueRef* value = std::get_if<ValueRef>(&ref)) {
    return Object{{"value", value->value.ToText()}, {"size", value->size}};
  }
  const BlobName& name = std::get<BlobName>(ref);
  List shape;
  for (const uint64_t n : name.shape) shape.emplace_back(n);
  return Object{
      {"hdf5_path", name.key.ToText()}, {"dtype", name.dtype}, {"shape", std::move(shape)}};
}

std::string RefText(const RecordRef& ref) {
  if (const BlobName* name = std::get_if<BlobName>(&ref)) return name->ToText();
  const ValueRef& value = std::get<ValueRef>(ref);
  return StrCat("value ", value.value.ToText(), " of ", value.size, " bytes");
}

uint64_t RefSize(const RecordRef& ref) {
  if (const ValueRef* value = std::get_if<ValueRef>(&ref)) return value->size;
  const BlobName& name = std::get<BlobName>(ref);
  const absl::StatusOr<DType> dtype = ParseDType(name.dtype);
  if (!dtype.ok()) return 0;
  return ArrayBytes(*dtype, name.shape).value_or(0);
}

std::optional<Array> InlineArray(const Object& record) {
  const std::string* text = ObjectText(record);
  if (text == nullptr || RecordClass(record) == kBytesClass ||
      !text->starts_with(kNpyMagicInBase64)) {
    return std::nullopt;
  }
  const std::optional<std::string> npy = Base64Decode(*text);
  if (!npy) return std::nullopt;
  absl::StatusOr<Array> array = ReadNpy(*npy);
  if (!array.ok()) return std::nullopt;
  return *std::move(array);
}

std::optional<std::string> InlineBytes(const Object& record) {
  const std::string* text = ObjectText(record);
  if (text == nullptr || RecordClass(record) != kBytesClass) return std::nullopt;
  return Base64Decode(*text);
}

}  // namespace tiffin
