#include "common/serialiser.h"

#include <utility>

#include "common/base64.h"
#include "common/json.h"
#include "common/status.h"
#include "common/strings.h"

namespace tiffin {
namespace {

absl::StatusOr<Value> ValueOfText(const std::string& text) {
  // It was within the limits when it came; memory is all that may be short now.
  JsonLimits limits;
  limits.max_text_bytes = limits.max_entries = limits.max_integer_digits = text.size();
  limits.max_nesting = kMaxJsonNesting;
  absl::StatusOr<Value> value = ParseJson(text, limits);
  if (value.ok() || absl::IsResourceExhausted(value.status())) return value;
  return absl::DataLossError(
      StrCat("a stored value cannot be read: ", ToStd(value.status().message())));
}

}  // namespace

absl::StatusOr<std::vector<const Object*>> RecordSerialiser::LeavingAtAnySize(const Object&) const {
  return std::vector<const Object*>();
}

absl::Status BadRecord(const PathLink& where, std::string_view what) {
  return Annotate(absl::InvalidArgumentError(ToAbsl(what)), where.text());
}

std::optional<Array> InlineBulk(const Object& record) {
  if (std::optional<std::string> bytes = InlineBytes(record)) {
    const Shape shape = {bytes->size()};
    return Array{std::string(kBytesDType), shape, *std::move(bytes)};
  }
  return InlineArray(record);
}

absl::StatusOr<Value> DataOfRef(const Object& record, const RecordRef& ref, std::string bytes) {
  const BlobName* name = std::get_if<BlobName>(&ref);
  if (name == nullptr) return ValueOfText(bytes);
  if (RecordClass(record) != kBytesClass) {
    TIFFIN_ASSIGN_OR_RETURN(bytes, WriteNpy({name->dtype, name->shape, std::move(bytes)}));
  }
  return Value(Base64Encode(bytes));
}

}  // namespace tiffin
