// Records: bulk that left and came back is the same record, and the same job, whatever its size.
#include <map>
#include <memory>

#include "common/bulk.h"
#include "common/cbor.h"
#include "common/job.h"
#include "common/json.h"
#include "common/registries.h"
#include "tests/fuzz/fuzzing.h"

namespace {

const tiffin::Registry& Standard() {
  static const auto& registry =
      *new std::shared_ptr<const tiffin::Registry>(tiffin::MakeRegistry({}).value());
  return *registry;
}

// With the bulk that was taken put back. Refs that the sender had put in stay out of reach.
absl::StatusOr<tiffin::Value> BackInline(const tiffin::TakenRecord& taken) {
  std::map<std::string, const std::string*> bytes;
  for (const tiffin::TakenBulk& bulk : taken.taken) {
    bytes[bulk.value ? tiffin::RefText(*bulk.value) : tiffin::RefText(bulk.name)] =
        &bulk.array.bytes;
  }
  const tiffin::BulkFetcher fetch =
      [&](const tiffin::RecordRef& ref) -> absl::StatusOr<std::string> {
    const auto found = bytes.find(tiffin::RefText(ref));
    if (found == bytes.end()) return absl::NotFoundError("the sender's own");
    return *found->second;
  };
  return tiffin::PutBulkBack(taken.record, fetch, size_t{1} << 30);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto value = tiffin::ParseJson(tiffin::fuzzing::Text(data, size));
  if (!value.ok()) return 0;
  const auto encoded = tiffin::EncodeCbor(*value);
  for (const size_t limit : {0, 16, 4096}) {
    const auto checked = tiffin::TakeBulk(*value, {.inline_limit = limit, .registry = &Standard()});
    const auto taken = tiffin::TakeBulk(*value, {.inline_limit = limit});
    FUZZ_CHECK(taken.ok() == encoded.ok());  // what a ref is, both know
    if (!taken.ok()) return 0;
    FUZZ_CHECK(tiffin::EncodeCbor(taken->record).value() == *encoded);
    if (checked.ok()) FUZZ_CHECK(checked->record == taken->record);
    const auto job = tiffin::PartsOfJob(*value);
    if (job.ok()) {
      const auto key = tiffin::JobKey(*value, {.allow_unversioned_main = true});
      FUZZ_CHECK(key.ok());
      const auto key_by_ref = tiffin::JobKey(taken->record, {.allow_unversioned_main = true});
      FUZZ_CHECK(key_by_ref.ok() && *key_by_ref == *key);
    }
    const auto back = BackInline(*taken);
    if (back.ok()) FUZZ_CHECK(tiffin::EncodeCbor(*back).value() == *encoded);
    if (taken->refs.empty()) FUZZ_CHECK(back.ok());
  }
  return 0;
}
