// Blobs in memory, that count.
#ifndef TIFFIN_TESTS_UNIT_CLIENT_OBJECTS_FAKE_BLOBS_H_
#define TIFFIN_TESTS_UNIT_CLIENT_OBJECTS_FAKE_BLOBS_H_

#include <algorithm>
#include <map>
#include <string>

#include "client/object_blobs.h"
#include "common/cbor.h"
#include "common/json.h"

namespace tiffin {

class FakeBlobs : public ObjectBlobs {
 public:
  absl::StatusOr<BlobName> Put(std::string_view dtype, const Shape& shape,
                               std::string_view bytes) override {
    ++puts;
    const BlobName name{BlobKey(dtype, shape, bytes), std::string(dtype), shape};
    bytes_[NameOf(name)] = bytes;
    return name;
  }

  // Keeps the data of a record; the ref record that stands for it.
  Value PutValue(Value value) {
    Object& record = *value.if_object();
    const std::string text = PrintJson(*record.Find("data"));
    const ValueRef ref{BodyDigest(record).value(), text.size()};
    bytes_[NameOf(ref)] = text;
    *record.Find("data") = RefData(ref);
    record.Set("ref", true);
    return value;
  }

  absl::Status Fetch(const RecordRef& ref,
                     const std::function<absl::Status(std::string_view)>& on_chunk) override {
    ++fetches;
    const auto found = bytes_.find(NameOf(ref));
    if (found == bytes_.end()) return absl::NotFoundError(RefText(ref));
    const std::string& bytes = found->second;
    for (size_t at = 0; at < bytes.size(); at += 7) {
      const absl::Status status = on_chunk(std::string_view(bytes).substr(at, 7));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // The bytes of a blob lose their end.
  void Cut(const RecordRef& ref) { bytes_[NameOf(ref)].pop_back(); }

  // Each has the other's bytes.
  void Swap(const RecordRef& a, const RecordRef& b) { bytes_[NameOf(a)].swap(bytes_[NameOf(b)]); }

  int puts = 0, fetches = 0;

 private:
  // A value's size is its sender's word.
  static std::string NameOf(const RecordRef& ref) {
    const auto* value = std::get_if<ValueRef>(&ref);
    return value != nullptr ? value->value.ToText() : RefText(ref);
  }

  std::map<std::string, std::string> bytes_;
};

}  // namespace tiffin

#endif  // TIFFIN_TESTS_UNIT_CLIENT_OBJECTS_FAKE_BLOBS_H_
