// Takes bulk out of records and puts it back (DESIGN.md 2, "What becomes a ref").
#ifndef TIFFIN_COMMON_BULK_H_
#define TIFFIN_COMMON_BULK_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/npy.h"
#include "common/record.h"
#include "common/registry.h"
#include "common/value.h"

namespace tiffin {

struct BulkOptions {
  size_t inline_limit = 4096;  // decoded bytes from which an array, bytes or opaque string leaves
  // Checks every record, and tells what leaves whatever its size. nullptr: nothing is checked.
  const Registry* registry = nullptr;
};

// Bulk that left a record: an array or bytes, or the JSON text of a value (`value` is then set, and
// the array is that text as |V1).
struct TakenBulk {
  Array array;
  BlobName name;  // of `array`
  std::optional<ValueRef> value;
};

// What a record refers to after its bulk was taken out.
struct TakenRecord {
  Value record;                  // small: bulk replaced by refs, `"ref": true` put before `data`
  std::vector<TakenBulk> taken;  // each blob once, inner ones before what holds them
  std::vector<RecordRef> refs;   // refs that were in the record as sent, each once
};

// Takes bulk out at any depth. E of the record does not change.
// Errors: INVALID_ARGUMENT naming the path of a malformed ref or record.
absl::StatusOr<TakenRecord> TakeBulk(Value record, const BulkOptions& options = {});

// Every ref in the value, at any depth, each once.
absl::StatusOr<std::vector<RecordRef>> RefsIn(const Value& value);

// Brings the whole bytes of a ref: of the array, or the JSON text of a value.
using BulkFetcher = std::function<absl::StatusOr<std::string>(const RecordRef&)>;

// Puts bulk back as it was sent: arrays as base64 of what numpy.save writes in C order. A `ref`
// member stays where the sender had put it (tiffin's own stands directly before `data`).
// RESOURCE_EXHAUSTED if the text would exceed `max_bytes`; else the fetcher's errors, with the
// path.
absl::StatusOr<Value> PutBulkBack(Value record, const BulkFetcher& fetch, size_t max_bytes);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_BULK_H_
