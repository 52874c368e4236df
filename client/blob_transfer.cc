// Arrays to the server and back.
#include <algorithm>
#include <utility>

#include "client/client.h"
#include "client/client_impl.h"
#include "client/convert.h"
#include "common/cbor.h"
#include "common/json.h"
#include "common/status.h"

namespace tiffin {
namespace {

constexpr size_t kSmallBlob = 1 << 20;
constexpr size_t kChunk = 1 << 20;

absl::StatusOr<RecordRef> RefIn(const Value& record) {
  const Object* object = AsRecord(record);
  if (!object) return absl::InvalidArgumentError("not a record");
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<RecordRef> ref, RefOf(*object));
  if (!ref) return absl::InvalidArgumentError("the record is no ref of tiffin's");
  return *ref;
}

v1::BlobRef RefTo(const BlobName& name) {
  v1::BlobRef ref;
  ToProto(name, ref.mutable_name());
  return ref;
}

}  // namespace

absl::StatusOr<BlobName> Client::Put(const Array& array) {
  return Put(array.dtype, array.shape, array.bytes);
}

absl::StatusOr<BlobName> Client::Put(std::string_view dtype_text, const Shape& shape,
                                     std::string_view bytes) {
  TIFFIN_ASSIGN_OR_RETURN(const DType dtype, ParseDType(dtype_text));
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, ArrayBytes(dtype, shape));
  if (size != bytes.size()) {
    return absl::InvalidArgumentError(
        StrCat(bytes.size(), " bytes, dtype and shape tell ", size));
  }
  BlobName name{{}, DTypeName(dtype), shape};
  name.key = BlobKey(name.dtype, shape, bytes);
  if (impl_->Knows(name)) return name;
  impl_->BeginUpload(name);
  const absl::Status status = [&]() -> absl::Status {
    if (impl_->Knows(name)) return absl::OkStatus();  // another thread has sent it
    if (bytes.size() < kSmallBlob) {
      v1::BatchPutRequest request;
      *request.mutable_caller() = impl_->caller();
      ToProto(name, request.add_items()->mutable_name());
      request.mutable_items(0)->set_data(bytes.data(), bytes.size());
      return impl_->Repeat([&]() -> absl::Status {
        TIFFIN_ASSIGN_OR_RETURN(const v1::BatchPutResponse response,
                                impl_->connection->BatchPut(request));
        if (response.items_size() != 1) return absl::InternalError("no answer for the blob");
        return FromProto(response.items(0).status());
      });
    }
    v1::PutRequest::Header header;
    *header.mutable_caller() = impl_->caller();
    ToProto(name, header.mutable_name());
    return impl_->Repeat([&] {
      size_t at = 0;
      return impl_->connection
          ->Put(header,
                [&] {
                  const std::string_view chunk = bytes.substr(at, kChunk);
                  at += chunk.size();
                  return chunk;
                })
          .status();
    });
  }();
  if (status.ok()) impl_->Learn(name);
  impl_->EndUpload(name);
  if (!status.ok()) return status;
  return name;
}

Value Client::RefRecord(const BlobName& name, std::string_view class_name) {
  return Value(Object{{"_noodles", Value("0.3.0")},
                      {"type", Value(kObjectType)},
                      {"class", Value(class_name)},
                      {"ref", Value(true)},
                      {"data", RefData(RecordRef(name))}});
}

absl::StatusOr<v1::DerefResponse::Header> Client::DerefTo(
    const v1::BlobRef& ref, uint64_t offset, std::optional<uint64_t> limit,
    const std::function<absl::Status(std::string_view)>& on_chunk) {
  v1::DerefRequest request;
  *request.mutable_caller() = impl_->caller();
  *request.mutable_ref() = ref;
  std::optional<v1::DerefResponse::Header> first;
  uint64_t got = 0;
  TIFFIN_RETURN_IF_ERROR(impl_->Repeat([&]() -> absl::Status {
    // Goes on where the last try broke.
    request.set_offset(offset + got);
    if (limit) request.set_limit(*limit - got);
    uint64_t expected = 0;
    TIFFIN_RETURN_IF_ERROR(impl_->connection->Deref(
        request,
        [&](const v1::DerefResponse::Header& header) {
          if (!first) first = header;
          expected = got + header.length();
          return absl::OkStatus();
        },
        [&](std::string_view chunk) {
          got += chunk.size();
          return on_chunk(chunk);
        }));
    if (!first || got != expected) {
      return absl::UnavailableError(StrCat("the stream ended after ", got, " bytes"));
    }
    return absl::OkStatus();
  }));
  return *std::move(first);
}

absl::StatusOr<Array> Client::Deref(const BlobName& name) {
  Array array{name.dtype, name.shape, {}};
  Sha256 hash = StartBlobKey(name.dtype, name.shape);
  TIFFIN_ASSIGN_OR_RETURN(const DType dtype, ParseDType(name.dtype));
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, ArrayBytes(dtype, name.shape));
  array.bytes.reserve(size);
  TIFFIN_RETURN_IF_ERROR(DerefTo(RefTo(name), 0, std::nullopt, [&](std::string_view chunk) {
                           if (impl_->options.verify) hash.Update(chunk);
                           array.bytes += chunk;
                           return absl::OkStatus();
                         }).status());
  if (impl_->options.verify && hash.Finish() != name.key) {
    return absl::DataLossError(StrCat(name.ToText(), ": the bytes do not match the key"));
  }
  return array;
}

absl::StatusOr<Array> Client::DerefArray(const Value& record) {
  TIFFIN_ASSIGN_OR_RETURN(const RecordRef ref, RefIn(record));
  const BlobName* name = std::get_if<BlobName>(&ref);
  if (!name) return absl::InvalidArgumentError("the ref is of a value: use DerefValue");
  return Deref(*name);
}

absl::StatusOr<Value> Client::DerefValue(const Value& record) {
  TIFFIN_ASSIGN_OR_RETURN(const RecordRef ref, RefIn(record));
  const ValueRef* value = std::get_if<ValueRef>(&ref);
  if (!value) return absl::InvalidArgumentError("the ref is of an array: use DerefArray");
  v1::BlobRef named;
  named.set_value(std::string(value->value.view()));
  std::string json;
  TIFFIN_RETURN_IF_ERROR(DerefTo(named, 0, std::nullopt, [&](std::string_view chunk) {
                           json += chunk;
                           return absl::OkStatus();
                         }).status());
  JsonLimits limits;
  limits.max_text_bytes = size_t{64} << 20;
  TIFFIN_ASSIGN_OR_RETURN(Value data, ParseJson(json, limits));
  if (impl_->options.verify) {
    Object inlined = *AsRecord(record);
    inlined.Set("data", data);
    inlined.Set("ref", Value(false));
    TIFFIN_ASSIGN_OR_RETURN(const Digest digest, BodyDigest(inlined));
    if (digest != value->value) {
      return absl::DataLossError(
          StrCat("value ", value->value.ToText(), ": the text does not match the digest"));
    }
  }
  return data;
}

absl::StatusOr<std::string> Client::DerefRange(const BlobName& name, uint64_t offset,
                                               uint64_t limit) {
  std::string bytes;
  TIFFIN_RETURN_IF_ERROR(DerefTo(RefTo(name), offset, limit, [&](std::string_view chunk) {
                           bytes += chunk;
                           return absl::OkStatus();
                         }).status());
  return bytes;
}

}  // namespace tiffin
