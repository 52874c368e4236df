// The fake server's blobs.
#include "common/status.h"
#include "tests/unit/client/fake_server.h"

namespace tiffin::testing {
namespace {

BlobName NameOf(const v1::BlobName& name) {
  return {*Digest::FromBytes(name.key()), name.dtype(), {name.shape().begin(), name.shape().end()}};
}

}  // namespace

absl::StatusOr<v1::FindMissingResponse> FakeServer::FindMissing(
    const v1::FindMissingRequest& request) {
  std::lock_guard lock(mutex_);
  TIFFIN_RETURN_IF_ERROR(Begin("FindMissing"));
  v1::FindMissingResponse response;
  for (const v1::BlobName& name : request.blobs()) {
    if (!blobs.contains(NameOf(name))) *response.add_blobs() = name;
  }
  return response;
}

absl::StatusOr<v1::PutResponse> FakeServer::Put(
    const v1::PutRequest::Header& header, const std::function<std::string_view()>& next_chunk) {
  CallOnce(&on_put);
  const BlobName name = NameOf(header.name());
  std::string bytes;
  int breaks_after = -1;
  {
    std::lock_guard lock(mutex_);
    put_offsets_.push_back(header.offset());
    TIFFIN_RETURN_IF_ERROR(Begin("Put"));
    if (!put_breaks_after.empty()) {
      breaks_after = put_breaks_after.front();
      put_breaks_after.pop_front();
    }
    if (header.offset() > uploads_[name].size()) {
      return absl::FailedPreconditionError("fewer bytes have come");
    }
    bytes = uploads_[name].substr(0, header.offset());
  }
  v1::PutResponse response;
  *response.mutable_name() = header.name();
  for (int chunks = 0;; ++chunks) {
    {
      std::lock_guard lock(mutex_);
      response.set_existed(blobs.contains(name));
      if (response.existed()) return response;  // early: without the bytes
    }
    const std::string_view chunk = next_chunk();
    if (chunk.empty()) break;
    if (chunks == breaks_after) {
      std::lock_guard lock(mutex_);
      if (keeps_uploads) uploads_[name] = bytes;
      return absl::UnavailableError("broken");
    }
    bytes += chunk;
  }
  if (BlobKey(name.dtype, name.shape, bytes) != name.key) {
    return absl::InvalidArgumentError("the key is not that of the bytes");
  }
  std::lock_guard lock(mutex_);
  blobs[name] = bytes;
  TIFFIN_RETURN_IF_ERROR(End("Put"));
  return response;
}

absl::StatusOr<v1::QueryPutResponse> FakeServer::QueryPut(const v1::QueryPutRequest& request) {
  std::lock_guard lock(mutex_);
  TIFFIN_RETURN_IF_ERROR(Begin("QueryPut"));
  if (!keeps_uploads) return absl::UnimplementedError("nothing is kept");
  const BlobName name = NameOf(request.name());
  v1::QueryPutResponse response;
  response.set_exists(blobs.contains(name));
  response.set_received(uploads_[name].size());
  response.set_sending(somebody_sends);
  return response;
}

absl::Status FakeServer::BatchPut(
    const std::vector<v1::BatchPutRequest>& requests,
    const std::function<void(const v1::BatchPutResponse&)>& on_response) {
  std::lock_guard lock(mutex_);
  batch_puts_.insert(batch_puts_.end(), requests.begin(), requests.end());
  TIFFIN_RETURN_IF_ERROR(Begin("BatchPut"));
  const int breaks_after = NextBreak();
  int index = 0;
  for (const v1::BatchPutRequest& request : requests) {
    for (const auto& put : request.items()) {
      if (index == breaks_after) return absl::UnavailableError("broken");
      v1::BatchPutResponse response;
      auto* item = response.add_items();
      item->set_index(index++);
      *item->mutable_response()->mutable_name() = put.name();
      item->mutable_response()->set_existed(blobs.contains(NameOf(put.name())));
      blobs[NameOf(put.name())] = put.data();
      on_response(response);
    }
  }
  return absl::OkStatus();
}

absl::Status FakeServer::Deref(
    const v1::DerefRequest& request,
    const std::function<absl::Status(const v1::DerefResponse::Header&)>& on_header,
    const std::function<absl::Status(std::string_view)>& on_chunk) {
  std::string bytes;
  v1::DerefResponse::Header header;
  uint64_t breaks_after = UINT64_MAX;
  {
    std::lock_guard lock(mutex_);
    derefs_.push_back(request);
    TIFFIN_RETURN_IF_ERROR(Begin("Deref"));
    if (!deref_breaks_after.empty()) {
      breaks_after = deref_breaks_after.front();
      deref_breaks_after.pop_front();
    }
    const auto blob = blobs.find(NameOf(request.ref().name()));
    if (blob == blobs.end()) return absl::NotFoundError("no such blob");
    *header.mutable_name() = request.ref().name();
    header.set_size(blob->second.size());
    if (request.offset() > blob->second.size()) return absl::OutOfRangeError("offset");
    bytes = blob->second.substr(request.offset(),
                                request.has_limit() ? request.limit() : std::string::npos);
    if (request.local() && local_place) {
      *header.mutable_local() = *local_place;
      bytes.clear();
    }
    header.set_length(bytes.size());
  }
  TIFFIN_RETURN_IF_ERROR(on_header(header));
  for (size_t at = 0; at < bytes.size(); at += deref_chunk) {
    if (at >= breaks_after) {
      if (on_deref_broken) on_deref_broken();
      return absl::UnavailableError("broken");
    }
    TIFFIN_RETURN_IF_ERROR(on_chunk(std::string_view(bytes).substr(at, deref_chunk)));
  }
  return absl::OkStatus();
}

absl::Status FakeServer::BatchDeref(const std::vector<v1::BatchDerefRequest>&,
                                    const std::function<void(const v1::BatchDerefResponse&)>&) {
  return absl::UnimplementedError("not needed");
}
absl::StatusOr<v1::StatResponse> FakeServer::Stat(const v1::StatRequest&) {
  return absl::UnimplementedError("not needed");
}

}  // namespace tiffin::testing
