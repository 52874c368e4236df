#include "server/store/record_gate.h"

#include <utility>

#include "common/status.h"

namespace tiffin::server {

absl::StatusOr<TakenIn> TakeIn(Value value, const Limits& limits) {
  BulkOptions options;
  options.inline_limit = limits.inline_limit;
  options.registry = limits.registry.get();
  TIFFIN_ASSIGN_OR_RETURN(TakenRecord taken, TakeBulk(std::move(value), options));
  TakenIn in;
  in.json = PrintJson(taken.record);
  // Other texts of the same values may be shorter: what is stored must fit into an answer.
  if (in.json.size() > limits.json.max_text_bytes) {
    return absl::ResourceExhaustedError(StrCat(
        "printed, it has ", in.json.size(), " bytes, the limit is ", limits.json.max_text_bytes));
  }
  in.refs = std::move(taken.refs);
  in.bulk = std::move(taken.taken);
  return in;
}

absl::Status MakeDurable(BlobCatalogue& blobs, TakenIn* in) {
  if (in->bulk.empty()) return absl::OkStatus();
  TIFFIN_ASSIGN_OR_RETURN(in->blobs, blobs.MakeDurable(std::move(in->bulk)));
  in->bulk.clear();
  return absl::OkStatus();
}

absl::StatusOr<std::string> Inlined(std::string_view json, RowId namespace_id, const Limits& limits,
                                    BlobCatalogue& blobs) {
  TIFFIN_ASSIGN_OR_RETURN(Value value, ParseJson(json, limits.json));
  const BulkFetcher fetch = [&](const RecordRef& ref) {
    return blobs.ReadWhole(namespace_id, ref);
  };
  TIFFIN_ASSIGN_OR_RETURN(value, PutBulkBack(std::move(value), fetch, limits.json.max_text_bytes));
  return PrintJson(value);
}

}  // namespace tiffin::server
