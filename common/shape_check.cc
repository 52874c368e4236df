#include "common/shape_check.h"

#include <algorithm>
#include <utility>

#include "common/base64.h"
#include "common/strings.h"
#include "common/utf8.h"

namespace tiffin {
namespace {

constexpr size_t kMaxShown = 100;

std::string Shown(std::string_view text) { return CutUtf8(ToValidUtf8(text), kMaxShown); }

class ShapedSerialiser : public RecordSerialiser {
 public:
  ShapedSerialiser(ValueCheck check, std::string_view keeps, bool allow_array)
      : check_(check), keeps_(keeps), allow_array_(allow_array) {}

  absl::Status Check(const Object& record, const std::optional<RecordRef>& ref,
                     const PathLink& where) const override {
    const PathLink data_path(where, "data");
    const Value* data = record.Find("data");
    if (data == nullptr) return BadRecord(data_path, "is missing");
    if (!ref.has_value()) return check_(*data, data_path);
    if (std::holds_alternative<BlobName>(*ref) && !allow_array_) {
      return BadRecord(data_path, StrCat("a ref to an array, where a ", Shown(RecordClass(record)),
                                         " has none"));
    }
    return absl::OkStatus();
  }

  std::string Keeps() const override { return keeps_; }

 private:
  const ValueCheck check_;
  const std::string keeps_;
  const bool allow_array_;
};

}  // namespace

absl::Status Unexpected(const Value& found, std::string_view what, const PathLink& where) {
  const Object* record = AsRecord(found);
  if (record == nullptr) {
    return BadRecord(where, StrCat("expected ", what, ", found ", found.KindName()));
  }
  return BadRecord(where, StrCat("expected ", what, ", found a record ", Shown(RecordType(*record)),
                                 " ", Shown(RecordClass(*record))));
}

absl::Status AnyValue(const Value&, const PathLink&) { return absl::OkStatus(); }

absl::Status AnyString(const Value& value, const PathLink& where) {
  return value.if_string() ? absl::OkStatus() : Unexpected(value, "a string", where);
}

absl::Status StringOrNull(const Value& value, const PathLink& where) {
  if (value.is_null() || value.if_string()) return absl::OkStatus();
  return Unexpected(value, "a string or null", where);
}

absl::Status AnyInteger(const Value& value, const PathLink& where) {
  return value.is_integer() ? absl::OkStatus() : Unexpected(value, "an integer", where);
}

absl::Status AnyNumber(const Value& value, const PathLink& where) {
  if (value.is_integer() || value.if_double()) return absl::OkStatus();
  return Unexpected(value, "a number", where);
}

absl::Status AnyList(const Value& value, const PathLink& where) {
  return value.if_list() ? absl::OkStatus() : Unexpected(value, "a list", where);
}

absl::Status AnyMap(const Value& value, const PathLink& where) {
  if (value.if_object() && !AsRecord(value)) return absl::OkStatus();
  return Unexpected(value, "an object", where);
}

absl::Status QualifiedName(const Value& value, const PathLink& where) {
  TIFFIN_RETURN_IF_ERROR(AnyString(value, where));
  const std::string& name = *value.if_string();
  // Names may hold any letters (`m.größe`, `m.f.<locals>.g`), but each part has some.
  const bool empty_part =
      name.starts_with('.') || name.ends_with('.') || name.find("..") != std::string::npos;
  const bool space = std::any_of(name.begin(), name.end(),
                                 [](char c) { return static_cast<unsigned char>(c) <= ' '; });
  if (!name.empty() && !empty_part && !space) return absl::OkStatus();
  return BadRecord(where, StrCat("expected a qualified name, found \"", Shown(name), "\""));
}

absl::Status Base64Text(const Value& value, const PathLink& where) {
  TIFFIN_RETURN_IF_ERROR(AnyString(value, where));
  if (Base64Decode(*value.if_string())) return absl::OkStatus();
  return BadRecord(where, "expected canonical base64");
}

absl::Status CheckRecordOf(const Value& value, std::string_view class_name, const PathLink& where) {
  if (IsRecordOf(value, kObjectType, class_name)) return absl::OkStatus();
  return Unexpected(value, StrCat("a record ", kObjectType, " ", class_name), where);
}

absl::Status CheckFrame(const Object& record, const PathLink& where) {
  for (const char* name : {"class", "host"}) {
    const Value* member = record.Find(name);
    if (member != nullptr) TIFFIN_RETURN_IF_ERROR(StringOrNull(*member, PathLink(where, name)));
  }
  const Value* files = record.Find("files");
  if (files == nullptr || files->is_null()) return absl::OkStatus();
  return CheckItems(*files, PathLink(where, "files"), AnyString);
}

absl::Status CheckMembers(const Value& value, const PathLink& where,
                          std::initializer_list<MemberCheck> members) {
  TIFFIN_RETURN_IF_ERROR(AnyMap(value, where));
  for (const auto& [name, check] : members) {
    const PathLink path(where, name);
    const Value* member = value.if_object()->Find(name);
    if (member == nullptr) return BadRecord(path, "is missing");
    TIFFIN_RETURN_IF_ERROR(check(*member, path));
  }
  return absl::OkStatus();
}

SerialiserPtr MakeShapedSerialiser(ValueCheck check, std::string_view keeps, bool allow_array) {
  return std::make_shared<ShapedSerialiser>(check, keeps, allow_array);
}

}  // namespace tiffin
