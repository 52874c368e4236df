// Arrays to the server.
#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/time/clock.h"
#include "client/client.h"
#include "client/client_impl.h"
#include "client/convert.h"
#include "common/record.h"
#include "common/status.h"

namespace tiffin {
namespace {

constexpr size_t kSmallBlob = 1 << 20;     // below it, one message takes it whole
constexpr size_t kChunk = 1 << 20;         // of larger ones
constexpr size_t kBatchBytes = 8 << 20;    // of one BatchPut: as long others wait for what it sends
constexpr size_t kMessageBytes = 1 << 20;  // of one message of it
constexpr size_t kBatchItems = 10'000;
constexpr size_t kKnownBlobs = 100'000;
// The server keeps what was put for an hour, even if nothing refers to it.
constexpr absl::Duration kKnownFor = absl::Minutes(30);

// The array's name, its key computed.
absl::StatusOr<BlobName> NameOf(std::string_view dtype_text, const Shape& shape,
                                std::string_view bytes) {
  TIFFIN_ASSIGN_OR_RETURN(const DType dtype, ParseDType(dtype_text));
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, ArrayBytes(dtype, shape));
  if (size != bytes.size()) {
    return absl::InvalidArgumentError(StrCat(bytes.size(), " bytes, dtype and shape tell ", size));
  }
  BlobName name{{}, DTypeName(dtype), shape};
  name.key = BlobKey(name.dtype, shape, bytes);
  return name;
}

// Messages of a BatchPut with those of `blobs` that `places` names.
std::vector<v1::BatchPutRequest> MessagesOf(std::span<const NamedBytes> blobs,
                                            std::span<const size_t> places,
                                            const v1::Caller& caller) {
  std::vector<v1::BatchPutRequest> requests(1);
  *requests[0].mutable_caller() = caller;
  size_t bytes = 0;
  for (const size_t i : places) {
    const BlobName& name = *blobs[i].name;
    const size_t more = blobs[i].bytes.size() + name.dtype.size() + 10 * name.shape.size() + 64;
    if (bytes > 0 && bytes + more > kMessageBytes) {
      requests.emplace_back();
      bytes = 0;
    }
    bytes += more;
    v1::BatchPutRequest::Item* item = requests.back().add_items();
    ToProto(*blobs[i].name, item->mutable_name());
    item->set_data(blobs[i].bytes.data(), blobs[i].bytes.size());
  }
  return requests;
}

}  // namespace

absl::StatusOr<BlobName> Client::Put(const Array& array) {
  return Put(array.dtype, array.shape, array.bytes);
}

absl::StatusOr<BlobName> Client::Put(std::string_view dtype, const Shape& shape,
                                     std::string_view bytes) {
  TIFFIN_ASSIGN_OR_RETURN(BlobName name, NameOf(dtype, shape, bytes));
  TIFFIN_RETURN_IF_ERROR(impl_->Upload(*route_, name, bytes).status());
  return name;
}

absl::StatusOr<std::vector<BlobName>> Client::PutBatch(std::span<const Array> arrays) {
  const auto at = [](size_t i) { return StrCat("arrays[", i, "]"); };
  std::vector<BlobName> names;
  names.reserve(arrays.size());
  for (size_t i = 0; i < arrays.size(); ++i) {
    absl::StatusOr<BlobName> name = NameOf(arrays[i].dtype, arrays[i].shape, arrays[i].bytes);
    if (!name.ok()) return Annotate(name.status(), at(i));
    names.push_back(*std::move(name));
  }
  std::vector<size_t> sent;  // in the next message; claimed
  size_t bytes = 0;
  const auto flush = [&]() -> absl::Status {
    std::vector<NamedBytes> blobs;
    for (const size_t i : sent) blobs.push_back({&names[i], arrays[i].bytes});
    std::vector<absl::Status> outcomes;
    const absl::Status status = impl_->SendSmall(*route_, blobs, &outcomes);
    for (size_t i = 0; i < sent.size(); ++i) {
      if (outcomes[i].ok()) impl_->Learn(names[sent[i]]);
      impl_->EndUpload(names[sent[i]]);
    }
    sent.clear();
    bytes = 0;
    return status;
  };
  for (size_t i = 0; i < arrays.size(); ++i) {
    const size_t size = arrays[i].bytes.size();
    if (size >= kSmallBlob || impl_->Knows(names[i])) continue;
    if (bytes + size > kBatchBytes || sent.size() == kBatchItems) TIFFIN_RETURN_IF_ERROR(flush());
    // Not waited for here, where others may wait for what this thread has claimed.
    if (!impl_->TryBeginUpload(names[i])) continue;
    sent.push_back(i);
    bytes += size;
  }
  TIFFIN_RETURN_IF_ERROR(flush());
  // What is left: the large ones, what other threads were sending, what was refused.
  for (size_t i = 0; i < arrays.size(); ++i) {
    TIFFIN_RETURN_IF_ERROR(
        Annotate(impl_->Upload(*route_, names[i], arrays[i].bytes).status(), at(i)));
  }
  return names;
}

Value Client::RefRecord(const BlobName& name, std::string_view class_name) {
  return Value(Object{{"_noodles", Value("0.3.0")},
                      {"type", Value(kObjectType)},
                      {"class", Value(class_name)},
                      {"ref", Value(true)},
                      {"data", RefData(RecordRef(name))}});
}

absl::StatusOr<bool> Client::PutNamed(const BlobName& name, std::string_view bytes,
                                      const std::function<void(uint64_t sent)>& on_sent) {
  const std::shared_ptr<Impl> impl = impl_;  // `on_sent` may destroy this client
  const std::shared_ptr<const Route> route = route_;
  return impl->Upload(*route, name, bytes, on_sent);
}

absl::StatusOr<bool> Client::Impl::Upload(const Route& over, const BlobName& name,
                                          std::string_view bytes,
                                          const std::function<void(uint64_t sent)>& on_sent) {
  if (Knows(name)) return true;
  if (!BeginUpload(name, over.deadline())) {
    return absl::DeadlineExceededError(
        StrCat(name.ToText(), " is still being sent by another thread"));
  }
  // Asked again: another thread may have sent it meanwhile.
  absl::StatusOr<bool> existed = Knows(name) ? true : Send(over, name, bytes, on_sent);
  if (existed.ok()) Learn(name);
  EndUpload(name);
  return existed;
}

absl::StatusOr<bool> Client::Impl::Send(const Route& over, const BlobName& name,
                                        std::string_view bytes,
                                        const std::function<void(uint64_t sent)>& on_sent) const {
  if (bytes.size() < kSmallBlob) {
    const NamedBytes blob{&name, bytes};
    std::vector<absl::Status> outcomes;
    bool existed = false;
    TIFFIN_RETURN_IF_ERROR(SendSmall(over, {&blob, 1}, &outcomes, &existed));
    TIFFIN_RETURN_IF_ERROR(outcomes[0]);
    if (on_sent) on_sent(bytes.size());
    return existed;
  }
  v1::PutRequest::Header header;
  *header.mutable_caller() = caller_;
  ToProto(name, header.mutable_name());
  size_t furthest = 0;
  bool existed = false;
  // Goes on where an earlier try broke, of this program or of another that sent the same: but an
  // upload that somebody else still sends is not taken from him, nor one on which somebody else
  // goes on from us, or that has expired.
  bool first = true, from_front = false;
  // the last try was of what can be resumed: it may look as if it were still sent
  bool ours = false;
  TIFFIN_RETURN_IF_ERROR(over.Repeat([&](bool* progress) -> absl::Status {
    size_t at = 0;
    if (!from_front) {
      TIFFIN_ASSIGN_OR_RETURN(const v1::QueryPutResponse state, Received(over, name, bytes.size()));
      if (state.exists() && first) {
        existed = true;
        return absl::OkStatus();
      }
      ours = ours || !state.sending();
      if (ours) at = state.received();
    }
    first = false;
    header.set_offset(at);
    const auto next_chunk = [&] {
      if (at > furthest) {  // the chunk before this one was taken
        furthest = at;
        *progress = true;
      }
      if (on_sent) on_sent(at);
      const std::string_view chunk = bytes.substr(at, kChunk);
      at += chunk.size();
      return chunk;
    };
    const absl::StatusOr<v1::PutResponse> response = over.connection().Put(header, next_chunk);
    if (response.ok()) existed = response->existed();
    const absl::Status& status = response.status();
    from_front =
        absl::IsAborted(status) || (absl::IsFailedPrecondition(status) && header.offset() > 0);
    if (from_front) ours = false;
    return from_front ? absl::UnavailableError(status.message()) : status;
  }));
  return existed;
}

absl::Status Client::Impl::SendSmall(const Route& over, std::span<const NamedBytes> blobs,
                                     std::vector<absl::Status>* outcomes,
                                     bool* last_existed) const {
  const absl::Status none = absl::InternalError("no answer for the blob");
  outcomes->assign(blobs.size(), none);
  std::vector<size_t> left(blobs.size());  // places in `blobs`
  std::iota(left.begin(), left.end(), 0);
  return over.Repeat([&](bool* progress) -> absl::Status {
    if (left.empty()) return absl::OkStatus();
    const absl::Status status = over.connection().BatchPut(
        MessagesOf(blobs, left, caller_), [&](const v1::BatchPutResponse& response) {
          for (const auto& item : response.items()) {
            if (item.index() >= left.size()) continue;
            (*outcomes)[left[item.index()]] = FromProto(item.status());
            if (last_existed != nullptr) *last_existed = item.response().existed();
            *progress = true;
          }
        });
    // What was not answered, or could not be stored now, is sent again.
    std::erase_if(left, [&](size_t i) {
      return (*outcomes)[i] != none && !absl::IsUnavailable((*outcomes)[i]);
    });
    return status.ok() && !left.empty() ? (*outcomes)[left[0]] : status;
  });
}

absl::StatusOr<v1::QueryPutResponse> Client::Impl::Received(const Route& over, const BlobName& name,
                                                            size_t size) const {
  v1::QueryPutRequest request;
  *request.mutable_caller() = caller_;
  ToProto(name, request.mutable_name());
  absl::StatusOr<v1::QueryPutResponse> response = over.connection().QueryPut(request);
  if (absl::IsUnimplemented(response.status())) return v1::QueryPutResponse();
  if (response.ok() && response->received() > size) response->set_received(0);
  return response;
}

bool Client::Impl::Knows(const BlobName& name) {
  std::lock_guard lock(mutex_);
  const auto known = known_.find(name);
  if (known == known_.end()) return false;
  if (absl::Now() - known->second < kKnownFor) return true;
  known_.erase(known);
  return false;
}

void Client::Impl::Learn(const BlobName& name) {
  std::lock_guard lock(mutex_);
  if (known_.size() >= kKnownBlobs) known_.clear();
  known_[name] = absl::Now();
}

bool Client::Impl::BeginUpload(const BlobName& name, absl::Time deadline) {
  std::unique_lock lock(mutex_);
  const auto ours = [&] { return !uploading_.contains(name); };
  if (deadline == absl::InfiniteFuture()) {
    uploaded_.wait(lock, ours);
  } else if (!uploaded_.wait_until(lock, absl::ToChronoTime(deadline), ours)) {
    return false;
  }
  uploading_.insert(name);
  return true;
}

bool Client::Impl::TryBeginUpload(const BlobName& name) {
  std::lock_guard lock(mutex_);
  return uploading_.insert(name).second;
}

void Client::Impl::EndUpload(const BlobName& name) {
  std::lock_guard lock(mutex_);
  uploading_.erase(name);
  uploaded_.notify_all();
}

}  // namespace tiffin
