// Arrays and values from the server.
#include <cstring>
#include <utility>

#include "client/client.h"
#include "client/client_impl.h"
#include "client/convert.h"
#include "common/cbor.h"
#include "common/json.h"
#include "common/record.h"
#include "common/status.h"

namespace tiffin {
namespace {

constexpr size_t kMaxValueText = size_t{64} << 20;

absl::StatusOr<RecordRef> RefIn(const Value& record) {
  const Object* object = AsRecord(record);
  if (!object) return absl::InvalidArgumentError("not a record");
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<RecordRef> ref, RefOf(*object));
  if (!ref) return absl::InvalidArgumentError("the record is no ref of tiffin's");
  return *ref;
}

v1::DerefRequest RequestFor(const BlobName& name) {
  v1::DerefRequest request;
  ToProto(name, request.mutable_ref()->mutable_name());
  return request;
}

absl::StatusOr<uint64_t> SizeOf(const BlobName& name) {
  TIFFIN_ASSIGN_OR_RETURN(const DType dtype, ParseDType(name.dtype));
  return ArrayBytes(dtype, name.shape);
}

absl::Status OtherSize(const BlobName& name, uint64_t told, uint64_t size) {
  return absl::InternalError(
      StrCat(name.ToText(), ": the server tells of ", told, " bytes, dtype and shape of ", size));
}

absl::Status IgnoreHeader(const v1::DerefResponse::Header&) { return absl::OkStatus(); }

}  // namespace

absl::StatusOr<v1::DerefResponse::Header> Client::Impl::Stream(const Route& over,
                                                               v1::DerefRequest request,
                                                               const OnHeader& on_header,
                                                               const OnChunk& on_chunk) const {
  *request.mutable_caller() = caller_;
  const uint64_t offset = request.offset();
  const std::optional<uint64_t> limit =
      request.has_limit() ? std::optional(request.limit()) : std::nullopt;
  std::optional<v1::DerefResponse::Header> first;
  uint64_t got = 0;
  absl::Status stopped;  // by the caller's functions: theirs is no code to repeat for
  const absl::Status status = over.Repeat([&](bool* progress) -> absl::Status {
    // Goes on where the last try broke.
    request.set_offset(offset + got);
    if (first && !first->has_local()) request.clear_local();  // the rest comes as what was begun
    if (limit) request.set_limit(*limit - got);
    std::optional<uint64_t> end;
    const auto header_came = [&](const v1::DerefResponse::Header& header) -> absl::Status {
      end = got + header.length();
      if (first) {
        if (header.size() == first->size()) return absl::OkStatus();
        return absl::InternalError("the blob has another size than before the stream broke");
      }
      first = header;
      return stopped = on_header(header);
    };
    const auto chunk_came = [&](std::string_view chunk) -> absl::Status {
      if (!end || chunk.size() > *end - got) {
        return absl::InternalError("the server sent more bytes than it had told");
      }
      got += chunk.size();
      *progress |= !chunk.empty();
      return stopped = on_chunk(chunk);
    };
    const absl::Status broken = over.connection().Deref(request, header_came, chunk_came);
    if (!stopped.ok()) return absl::OkStatus();
    if (!broken.ok()) return broken;
    if (end && got == *end) return absl::OkStatus();
    return absl::UnavailableError(StrCat("the stream ended after ", got, " bytes"));
  });
  if (!stopped.ok()) return stopped;
  if (!status.ok()) return status;
  return *std::move(first);
}

absl::Status Client::Impl::Fetch(const Route& over, const BlobName& name, uint64_t size,
                                 const std::function<void()>& begin,
                                 const std::function<void(std::string_view)>& take) const {
  Sha256 hash = StartBlobKey(name.dtype, name.shape);
  const auto on_header = [&](const v1::DerefResponse::Header& header) -> absl::Status {
    if (header.size() != size || header.length() != size) {
      return OtherSize(name, header.size(), size);
    }
    begin();
    return absl::OkStatus();
  };
  const auto on_chunk = [&](std::string_view chunk) {
    if (options.verify) hash.Update(chunk);
    take(chunk);
    return absl::OkStatus();
  };
  TIFFIN_RETURN_IF_ERROR(Stream(over, RequestFor(name), on_header, on_chunk).status());
  if (options.verify && hash.Finish() != name.key) {
    return absl::DataLossError(StrCat(name.ToText(), ": the bytes do not match the key"));
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::DerefResponse::Header> Client::DerefTo(
    const v1::BlobRef& ref, uint64_t offset, std::optional<uint64_t> limit,
    const std::function<absl::Status(std::string_view)>& on_chunk) {
  const std::shared_ptr<Impl> impl = impl_;  // `on_chunk` may destroy this client
  const std::shared_ptr<const Route> route = route_;
  v1::DerefRequest request;
  *request.mutable_ref() = ref;
  request.set_offset(offset);
  if (limit) request.set_limit(*limit);
  return impl->Stream(*route, std::move(request), IgnoreHeader, on_chunk);
}

absl::StatusOr<Array> Client::Deref(const BlobName& name) {
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, SizeOf(name));
  Array array{name.dtype, name.shape, {}};
  TIFFIN_RETURN_IF_ERROR(impl_->Fetch(
      *route_, name, size, [&] { array.bytes.reserve(size); },
      [&](std::string_view chunk) { array.bytes += chunk; }));
  return array;
}

absl::Status Client::DerefInto(const BlobName& name, std::span<std::byte> memory) {
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, SizeOf(name));
  if (memory.size() != size) {
    return absl::InvalidArgumentError(
        StrCat(name.ToText(), " has ", size, " bytes, the memory ", memory.size()));
  }
  std::byte* next = memory.data();
  return impl_->Fetch(
      *route_, name, size, [] {},
      [&](std::string_view chunk) {
        std::memcpy(next, chunk.data(), chunk.size());
        next += chunk.size();
      });
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
  v1::DerefRequest request;
  request.mutable_ref()->set_value(std::string(value->value.view()));
  std::string json;
  const auto on_header = [&](const v1::DerefResponse::Header& header) -> absl::Status {
    if (header.size() > kMaxValueText) {
      return absl::ResourceExhaustedError(StrCat("value ", value->value.ToText(), ": ",
                                                 header.size(), " bytes of text, the limit is ",
                                                 kMaxValueText));
    }
    json.reserve(header.size());
    return absl::OkStatus();
  };
  const auto on_chunk = [&](std::string_view chunk) {
    json += chunk;
    return absl::OkStatus();
  };
  TIFFIN_RETURN_IF_ERROR(impl_->Stream(*route_, std::move(request), on_header, on_chunk).status());
  JsonLimits limits;
  limits.max_text_bytes = kMaxValueText;
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

absl::StatusOr<std::string> Client::Impl::Collect(const Route& over,
                                                  v1::DerefRequest request) const {
  std::string bytes;
  const auto on_header = [&](const v1::DerefResponse::Header& header) {
    bytes.reserve(header.length());
    return absl::OkStatus();
  };
  const auto on_chunk = [&](std::string_view chunk) {
    bytes += chunk;
    return absl::OkStatus();
  };
  TIFFIN_RETURN_IF_ERROR(Stream(over, std::move(request), on_header, on_chunk).status());
  return bytes;
}

absl::StatusOr<std::string> Client::DerefRange(const BlobName& name, uint64_t offset,
                                               uint64_t limit) {
  v1::DerefRequest request = RequestFor(name);
  request.set_offset(offset);
  request.set_limit(limit);
  return impl_->Collect(*route_, std::move(request));
}

absl::StatusOr<Array> Client::DerefSlab(const BlobName& name,
                                        std::span<const SlabDimension> dimensions) {
  TIFFIN_ASSIGN_OR_RETURN(const DType dtype, ParseDType(name.dtype));
  TIFFIN_RETURN_IF_ERROR(ArrayBytes(dtype, name.shape).status());
  // Checked here, too: what comes is of this shape.
  TIFFIN_ASSIGN_OR_RETURN(const Slab slab, Slab::Make(name.shape, dtype.total_size(), dimensions));
  v1::DerefRequest request = RequestFor(name);
  request.mutable_slab();  // present, even of an array without dimensions
  for (const SlabDimension& dimension : dimensions) {
    v1::Slab::Dimension* out = request.mutable_slab()->add_dimensions();
    out->set_start(dimension.start);
    out->set_count(dimension.count);
    out->set_stride(dimension.stride);
  }
  Array array{name.dtype, slab.shape(), {}};
  TIFFIN_ASSIGN_OR_RETURN(array.bytes, impl_->Collect(*route_, std::move(request)));
  if (array.bytes.size() != slab.bytes()) {
    return absl::InternalError(StrCat(name.ToText(), ": the selection has ", slab.bytes(),
                                      " bytes, the server sent ", array.bytes.size()));
  }
  return array;
}

absl::StatusOr<MappedBlob> Client::Map(const BlobName& name) {
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, SizeOf(name));
  v1::DerefRequest request = RequestFor(name);
  request.set_local(true);
  std::string bytes;
  const auto on_header = [&](const v1::DerefResponse::Header& header) -> absl::Status {
    if (header.size() != size) {
      return OtherSize(name, header.size(), size);
    }
    if (!header.has_local()) bytes.reserve(size);
    return absl::OkStatus();
  };
  const auto on_chunk = [&](std::string_view chunk) {
    bytes += chunk;
    return absl::OkStatus();
  };
  TIFFIN_ASSIGN_OR_RETURN(const v1::DerefResponse::Header header,
                          impl_->Stream(*route_, std::move(request), on_header, on_chunk));
  absl::StatusOr<MappedBlob> blob = MappedBlob(std::move(bytes));
  if (header.has_local()) {
    const v1::LocalPlace& place = header.local();
    blob = MappedBlob::Map(place.path(), place.offset(), size, place.file_size(), place.inode());
  }
  if (!blob.ok()) {
    // On another host, or gone meanwhile.
    TIFFIN_ASSIGN_OR_RETURN(Array array, Deref(name));
    return MappedBlob(std::move(array.bytes));
  }
  if (blob->bytes().size() != size) {
    return absl::InternalError(StrCat(name.ToText(), ": the server sent too few bytes"));
  }
  if (impl_->options.verify && BlobKey(name.dtype, name.shape, blob->bytes()) != name.key) {
    return absl::DataLossError(StrCat(name.ToText(), ": the bytes do not match the key"));
  }
  return blob;
}

}  // namespace tiffin
