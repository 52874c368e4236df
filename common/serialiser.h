// Record serialisers: what a server knows about one kind of record (DESIGN.md 6).
#ifndef TIFFIN_COMMON_SERIALISER_H_
#define TIFFIN_COMMON_SERIALISER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/path.h"
#include "common/record.h"
#include "common/value.h"

namespace tiffin {

// Knows one kind of record: whether it is well formed, and what of it leaves as bulk.
//
// A serialiser sees records and never changes them, so that none can change a job key: what may
// leave (an inline array, bytes, opaque base64, a value), and how it becomes bytes and comes back,
// is the same for all, since E fixes it: InlineBulk and DataOfRef below.
//
// Threads: the methods are called from many threads at once.
class RecordSerialiser {
 public:
  virtual ~RecordSerialiser() = default;

  // Checks a record of its kind that stands at `where`. Records inside it are checked by their own
  // serialisers. `ref` is set if the record is a ref of tiffin's: its data is elsewhere.
  // INVALID_ARGUMENT naming the path of what is wrong (`BadRecord`).
  virtual absl::Status Check(const Object& record, const std::optional<RecordRef>& ref,
                             const PathLink& where) const = 0;

  // Of a checked record that is no ref: those of the `<object>` records in it (or itself) whose
  // bulk (an inline array, bytes, opaque base64) leaves whatever its size. All other bulk leaves
  // from inline_limit on. The pointers are into `record`.
  virtual absl::StatusOr<std::vector<const Object*>> LeavingAtAnySize(const Object& record) const;

  // What becomes of its bulk, for people: `from inline_limit on as an array`.
  virtual std::string Keeps() const = 0;
};

using SerialiserPtr = std::shared_ptr<const RecordSerialiser>;

// INVALID_ARGUMENT: `arguments[3].data.dtype: expected a string, found null`.
absl::Status BadRecord(const PathLink& where, std::string_view what);

// The array that the data of a record stands for inline, as E sees it: the bytes of a
// builtins.bytes (|V1), or a readable `.npy`. nullopt for anything else.
std::optional<Array> InlineBulk(const Object& record);

// The `data` that a ref's whole bytes stand for inline: base64 of the bytes of a builtins.bytes, of
// the `.npy` of any other array, the value of a JSON text. DATA_LOSS if such a text cannot be read.
absl::StatusOr<Value> DataOfRef(const Object& record, const RecordRef& ref, std::string bytes);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_SERIALISER_H_
