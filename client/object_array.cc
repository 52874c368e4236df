#include "client/object_array.h"

#include "common/dtype.h"
#include "common/json.h"
#include "common/serialiser.h"

namespace tiffin {

absl::StatusOr<ArrayOutline> OutlineOf(const Value& value, const PathLink& where,
                                       const Decoder& decoder) {
  const Object* record = AsRecord(value);
  if (record == nullptr || RecordType(*record) != kObjectType) {
    return decoder.Expected(where, "an array", value);
  }
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<RecordRef> ref, RefOf(*record, where));
  if (ref.has_value() && std::holds_alternative<BlobName>(*ref)) {
    return ArrayOutline{std::get<BlobName>(*ref), std::nullopt};
  }
  if (NamesFiles(*record)) {
    const Value* host = record->Find("host");
    return Annotate(absl::FailedPreconditionError(StrCat(
                        "the array is in the file ", PrintJson(*record->Find("files")), " on ",
                        host != nullptr && host->if_string() ? *host->if_string() : "its host")),
                    where.text());
  }
  std::optional<Array> array = InlineBulk(*record);
  if (!array.has_value()) return decoder.Expected(where, "an array", value);
  return ArrayOutline{{Digest(), array->dtype, array->shape}, std::move(array->bytes)};
}

absl::StatusOr<size_t> BytesOf(const ArrayOutline& array) {
  TIFFIN_ASSIGN_OR_RETURN(const DType dtype, ParseDType(array.name.dtype));
  return ArrayBytes(dtype, array.name.shape);
}

absl::Status ReadArray(const ArrayOutline& array, std::string_view dtype, const PathLink& where,
                       const Decoder& decoder, char* memory, size_t size) {
  if (array.name.dtype != dtype) {
    return BadRecord(where, StrCat("expected an array of ", dtype, ", found ", array.name.dtype));
  }
  if (memory == nullptr && size == 0) return absl::OkStatus();  // only asked whether it fits
  if (array.bytes.has_value()) {
    if (array.bytes->size() != size) return BadRecord(where, "an array of another size");
    if (size > 0) std::memcpy(memory, array.bytes->data(), size);
    return absl::OkStatus();
  }
  if (decoder.options().blobs == nullptr) {
    return Annotate(absl::FailedPreconditionError(
                        StrCat("to bring ", array.name.ToText(), ", give DecodeOptions::blobs")),
                    where.text());
  }
  return Annotate(FetchInto(*decoder.options().blobs, RecordRef(array.name), memory, size),
                  where.text());
}

}  // namespace tiffin
