#include "client/cli/blob_target.h"

#include "client/cli/context.h"
#include "client/cli/input.h"
#include "common/json.h"
#include "common/status.h"

namespace tiffin::cli {

absl::StatusOr<v1::BlobRef> ParseTarget(const std::string& text, bool is_value, std::istream& in) {
  v1::BlobRef ref;
  if (const absl::StatusOr<Digest> key = ParseKey(text); key.ok()) {
    (is_value ? *ref.mutable_value() : *ref.mutable_key()) = std::string(key->view());
    return ref;
  }
  if (is_value) return WrongUse(StrCat("'", text, "' is no key, which --value needs"));
  absl::StatusOr<Value> record = ReadValue(text, in);
  if (!record.ok()) return record.status();
  ref.mutable_record()->set_json(PrintJson(*record));
  return ref;
}

absl::StatusOr<BlobName> NameOf(const v1::BlobName& name) {
  BlobName result;
  TIFFIN_ASSIGN_OR_RETURN(result.key, Digest::FromBytes(name.key()));
  result.dtype = name.dtype();
  result.shape.assign(name.shape().begin(), name.shape().end());
  return result;
}

}  // namespace tiffin::cli
