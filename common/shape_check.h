// Checks of a record's shape, that say where and what: `data.links[2].node: is missing`.
#ifndef TIFFIN_COMMON_SHAPE_CHECK_H_
#define TIFFIN_COMMON_SHAPE_CHECK_H_

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "common/serialiser.h"
#include "common/status.h"

namespace tiffin {

// Checks the value that stands at `where`. INVALID_ARGUMENT naming the path.
using ValueCheck = absl::Status (*)(const Value& value, const PathLink& where);

absl::Status AnyValue(const Value& value, const PathLink& where);
absl::Status AnyString(const Value& value, const PathLink& where);
absl::Status StringOrNull(const Value& value, const PathLink& where);
absl::Status AnyInteger(const Value& value, const PathLink& where);
absl::Status AnyNumber(const Value& value, const PathLink& where);  // integer or double
absl::Status AnyList(const Value& value, const PathLink& where);
// A plain object: one that is no record.
absl::Status AnyMap(const Value& value, const PathLink& where);
// A qualified name, `module.name`, as Python has them: not empty, no white space.
absl::Status QualifiedName(const Value& value, const PathLink& where);
// Canonical base64 (RFC 4648, padded).
absl::Status Base64Text(const Value& value, const PathLink& where);

// "expected WHAT, found a string".
absl::Status Unexpected(const Value& found, std::string_view what, const PathLink& where);

// An `<object>` record of that class, inline or as a ref; its data is its own serialiser's
// business.
absl::Status CheckRecordOf(const Value& value, std::string_view class_name, const PathLink& where);

// What any record may have beside its data: `class` and `host` are strings or null, `files` is a
// list of strings or null; each may be absent.
absl::Status CheckFrame(const Object& record, const PathLink& where);

// Calls `check(item, path)` for each item of a list.
template <typename Check>
requires std::invocable<Check, const Value&, const PathLink&> absl::Status CheckItems(
    const Value& value, const PathLink& where, const Check& check) {
  TIFFIN_RETURN_IF_ERROR(AnyList(value, where));
  size_t i = 0;
  for (const Value& item : *value.if_list()) {
    TIFFIN_RETURN_IF_ERROR(check(item, PathLink(where, i++)));
  }
  return absl::OkStatus();
}

struct MemberCheck {
  std::string_view name;
  ValueCheck check;
};

// A plain object that has these members, each as its check wants it. Others are not looked at: a
// later Noodles may add some.
absl::Status CheckMembers(const Value& value, const PathLink& where,
                          std::initializer_list<MemberCheck> members);

// A serialiser of records whose data the check takes. `allow_array`: the data may also be a ref of
// the first form.
SerialiserPtr MakeShapedSerialiser(ValueCheck check, std::string_view keeps,
                                   bool allow_array = false);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_SHAPE_CHECK_H_
