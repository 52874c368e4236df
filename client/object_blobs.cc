#include "client/object_blobs.h"

#include <cstring>
#include <utility>

#include "client/convert.h"
#include "common/status.h"

namespace tiffin {
namespace {

class ClientBlobs : public ObjectBlobs {
 public:
  explicit ClientBlobs(Client client) : client_(std::move(client)) {}

  absl::StatusOr<BlobName> Put(std::string_view dtype, const Shape& shape,
                               std::string_view bytes) override {
    return client_.Put(dtype, shape, bytes);
  }

  absl::Status Fetch(const RecordRef& ref,
                     const std::function<absl::Status(std::string_view)>& on_chunk) override {
    v1::BlobRef asked;
    const BlobName* name = std::get_if<BlobName>(&ref);
    if (name == nullptr) {
      asked.set_value(std::string(std::get<ValueRef>(ref).value.view()));
      return client_.DerefTo(asked, 0, std::nullopt, on_chunk).status();
    }
    ToProto(*name, asked.mutable_name());
    if (!client_.options().verify)
      return client_.DerefTo(asked, 0, std::nullopt, on_chunk).status();
    Sha256 hash = StartBlobKey(name->dtype, name->shape);
    TIFFIN_RETURN_IF_ERROR(client_
                               .DerefTo(asked, 0, std::nullopt,
                                        [&](std::string_view chunk) {
                                          hash.Update(chunk);
                                          return on_chunk(chunk);
                                        })
                               .status());
    if (hash.Finish() == name->key) return absl::OkStatus();
    return absl::DataLossError(StrCat(name->ToText(), ": the bytes do not match the key"));
  }

 private:
  Client client_;
};

}  // namespace

std::shared_ptr<ObjectBlobs> MakeObjectBlobs(Client client) {
  return std::make_shared<ClientBlobs>(std::move(client));
}

absl::Status FetchInto(ObjectBlobs& blobs, const RecordRef& ref, char* memory, size_t size) {
  if (RefSize(ref) != size) {
    return absl::InvalidArgumentError(
        StrCat("memory of ", size, " bytes for ", RefText(ref), ", which has ", RefSize(ref)));
  }
  const auto wrong_size = [&ref] {
    return absl::DataLossError(StrCat(RefText(ref), " came with another size"));
  };
  size_t got = 0;
  TIFFIN_RETURN_IF_ERROR(blobs.Fetch(ref, [&](std::string_view chunk) {
    if (chunk.size() > size - got) return wrong_size();
    if (!chunk.empty()) std::memcpy(memory + got, chunk.data(), chunk.size());
    got += chunk.size();
    return absl::OkStatus();
  }));
  return got == size ? absl::OkStatus() : wrong_size();
}

absl::StatusOr<std::string> FetchWhole(ObjectBlobs& blobs, const RecordRef& ref) {
  std::string bytes;
  if (std::holds_alternative<ValueRef>(ref)) {
    // The size is the sender's: another text of the same value may have been stored first.
    TIFFIN_RETURN_IF_ERROR(blobs.Fetch(ref, [&](std::string_view chunk) {
      bytes += chunk;
      return absl::OkStatus();
    }));
    return bytes;
  }
  bytes.resize(RefSize(ref));
  TIFFIN_RETURN_IF_ERROR(FetchInto(blobs, ref, bytes.data(), bytes.size()));
  return bytes;
}

}  // namespace tiffin
