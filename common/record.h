// Records (DESIGN.md 2): which objects are records, what a record names, and the two forms of refs.
#ifndef TIFFIN_COMMON_RECORD_H_
#define TIFFIN_COMMON_RECORD_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "absl/status/statusor.h"
#include "common/npy.h"
#include "common/path.h"
#include "common/value.h"

namespace tiffin {

inline constexpr std::string_view kObjectType = "<object>";
inline constexpr std::string_view kBytesClass = "builtins.bytes";
// Around data that came with the content of its files: {"value", "files"}.
inline constexpr std::string_view kFilesClass = "tiffin.files";
inline constexpr std::string_view kFunctionNodeClass = "noodles.workflow.model.FunctionNode";
inline constexpr std::string_view kJobMessageClass = "noodles.run.messages.JobMessage";
inline constexpr std::string_view kWorkflowClass = "noodles.workflow.model.Workflow";
inline constexpr std::string_view kPromisedObjectClass =
    "noodles.interface.decorator.PromisedObject";
inline constexpr std::string_view kBytesDType = "|V1";

// True if `object` is a record: all members among _noodles, type, class, data, ref, host, files,
// with _noodles and a string type present.
bool IsRecord(const Object& object);
// The object, if `value` is a record.
const Object* AsRecord(const Value& value);

// The record's type, and its class ("" if absent or null).
std::string_view RecordType(const Object& record);
std::string_view RecordClass(const Object& record);
bool IsRecordOf(const Value& value, std::string_view type, std::string_view class_name);
// What a job returns that is to be unfolded: a workflow, or the promise of its value.
bool IsWorkflow(const Value& value);

// True if `files` is present and truthy.
bool NamesFiles(const Object& record);
// True if `ref` is present and truthy.
bool HasRef(const Object& record);

// The first ref form: an array or bytes, by (key, dtype, shape).
// The second: a value, by the SHA-256 of E(body), with the size of its JSON text in bytes.
struct ValueRef {
  Digest value;
  uint64_t size = 0;
  friend bool operator==(const ValueRef&, const ValueRef&) = default;
};
using RecordRef = std::variant<BlobName, ValueRef>;

// The ref that the record is, or nullopt if it is none of tiffin's (a ref for a file, or inline
// data marked with `ref`). The first form is an <object>'s only; the second is known by a string
// `value` and an integer `size`, so that a user's own {"value": 1.5, "size": 3} stays data. A
// record whose `data` has exactly the members of a ref form, but absurd contents (bad key, shape, a
// dtype that is not the name DTypeName gives), is INVALID_ARGUMENT naming the member:
// `data.shape[1]: …`.
absl::StatusOr<std::optional<RecordRef>> RefOf(const Object& record);
// The same for a record that stands at `where`, which errors name too.
absl::StatusOr<std::optional<RecordRef>> RefOf(const Object& record, const PathLink& where);

// The `data` member of a ref record.
Value RefData(const RecordRef& ref);

// A ref as text, for messages.
std::string RefText(const RecordRef& ref);
// The whole data of a ref in bytes: of the array, or of the value's JSON text.
uint64_t RefSize(const RecordRef& ref);

// A readable inline `.npy` (base64 that starts with its magic, not of object dtype) in an <object>
// record that is not builtins.bytes; nullopt if the data is anything else.
std::optional<Array> InlineArray(const Object& record);
// The bytes of an inline builtins.bytes record (canonical base64); nullopt otherwise.
std::optional<std::string> InlineBytes(const Object& record);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_RECORD_H_
