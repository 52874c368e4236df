// Records on their way in and out: JSON text to values, bulk to blobs and back.
#ifndef TIFFIN_SERVER_STORE_RECORD_GATE_H_
#define TIFFIN_SERVER_STORE_RECORD_GATE_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/bulk.h"
#include "common/json.h"
#include "common/registry.h"
#include "server/store/blob_catalogue.h"

namespace tiffin::server {

struct Limits {
  JsonLimits json;
  // What records must look like, and what of them leaves; nullptr: records are not checked.
  std::shared_ptr<const Registry> registry;
  size_t inline_limit = 4096;  // bytes
  size_t max_log_bytes = 64 << 10;
  size_t max_reply_bytes = 8 << 20;  // of a batch
  size_t max_message_bytes = 20 << 20;
  size_t max_batch = 10'000;  // items of one call
  absl::Duration default_term = absl::Seconds(30);
  absl::Duration min_term = absl::Seconds(5);
  absl::Duration max_term = absl::Hours(1);
  int max_lost = 3;  // lapsed leases of a job in a row after which it fails
};

// A record that came in, without its bulk.
struct TakenIn {
  std::string json;             // with refs
  std::vector<RecordRef> refs;  // that the sender had put in
  std::vector<TakenBulk> bulk;  // until it is durable
  // from then on: to be entered in the transaction that stores the record
  std::vector<NewBlob> blobs;
};

// Checks a value against the Registry and takes its bulk out.
// INVALID_ARGUMENT naming the path of a malformed record.
absl::StatusOr<TakenIn> TakeIn(Value value, const Limits& limits);
// Makes the bulk durable. Waits for the disk if there is any.
absl::Status MakeDurable(BlobCatalogue& blobs, TakenIn* in);

// The record with its bulk as it was sent. `namespace_id` must see the blobs.
absl::StatusOr<std::string> Inlined(std::string_view json, RowId namespace_id, const Limits& limits,
                                    BlobCatalogue& blobs);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_RECORD_GATE_H_
