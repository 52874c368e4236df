// The batches of Blobs: many small blobs on one stream, in and out.
#include <memory>
#include <utility>
#include <vector>

#include "common/status.h"
#include "server/service/bidi_stream.h"
#include "server/service/blobs_service.h"
#include "server/service/convert.h"

namespace tiffin::server {
namespace {

class BatchPutStream : public BidiStream<v1::BatchPutRequest, v1::BatchPutResponse> {
 public:
  BatchPutStream(Calls* calls, BlobCatalogue* blobs, const Limits& limits)
      : BidiStream(calls, "BatchPut", &calls->writes()), blobs_(blobs), limits_(limits) {}

 private:
  // The message, and its blobs on their way.
  size_t CostOf(const v1::BatchPutRequest&, size_t bytes) const override { return 2 * bytes; }

  // One sync and one transaction for a whole message.
  absl::Status Take(v1::BatchPutRequest& request) override {
    TIFFIN_RETURN_IF_ERROR(CheckBatch(request.items_size(), limits_, "items"));
    v1::BatchPutResponse response;
    std::vector<BlobCatalogue::SmallPut> puts;
    std::vector<int> at;
    for (int i = 0; i < request.items_size(); ++i) {
      v1::BatchPutResponse::Item* item = response.add_items();
      item->set_index(index_++);
      bool known = false;
      absl::StatusOr<BlobName> name = FromProto(request.items(i).name(), "name", &known);
      if (!name.ok()) {
        server::ToProto(name.status(), item->mutable_status());
        continue;
      }
      puts.push_back(
          {*std::move(name), known, std::move(*request.mutable_items(i)->mutable_data())});
      at.push_back(i);
    }
    const auto outcomes = blobs_->PutSmall(caller().name_space, std::move(puts));
    for (size_t i = 0; i < outcomes.size(); ++i) {
      v1::BatchPutResponse::Item* item = response.mutable_items(at[i]);
      if (outcomes[i].ok()) {
        ToProto(*outcomes[i], item->mutable_response());
      } else {
        server::ToProto(outcomes[i].status(), item->mutable_status());
      }
    }
    if (response.items_size() > 0) Write(std::move(response));
    return absl::OkStatus();
  }

  BlobCatalogue* const blobs_;
  const Limits limits_;
  uint64_t index_ = 0;  // of the next blob, in all messages
};

class BatchDerefStream : public BidiStream<v1::BatchDerefRequest, v1::BatchDerefResponse> {
 public:
  BatchDerefStream(Calls* calls, BlobCatalogue* blobs, const Limits& limits)
      : BidiStream(calls, "BatchDeref", &calls->reads()), blobs_(blobs), limits_(limits) {}

 private:
  absl::Status Take(v1::BatchDerefRequest& request) override {
    TIFFIN_RETURN_IF_ERROR(CheckBatch(request.refs_size(), limits_, "refs"));
    refs_ = request.refs();
    at_ = 0;
    return absl::OkStatus();
  }

  // As many as one message takes.
  bool Produce() override {
    if (at_ == refs_.size()) return false;
    MessageOfItems<v1::BatchDerefResponse> message;
    ByteBudget::Share share;  // of a message whose last blob is large, taken before that is read
    while (at_ < refs_.size() && !share) {
      v1::BatchDerefResponse::Item* item = message.Add();
      item->set_index(index_++);
      const absl::Status status = Fill(StrCat("refs[", at_, "]"), refs_[at_], item, &share);
      if (!status.ok() && status == NoRoom()) {
        End(TooMuchInFlight());
        return false;
      }
      if (!status.ok()) server::ToProto(status, item->mutable_status());
      ++at_;
      if (message.Full()) break;
    }
    Write(message.Move(), std::move(share));
    return true;
  }

  static absl::Status NoRoom() { return absl::ResourceExhaustedError("no room"); }

  absl::Status Fill(const std::string& where, const v1::BlobRef& ref,
                    v1::BatchDerefResponse::Item* item, ByteBudget::Share* share) {
    TIFFIN_ASSIGN_OR_RETURN(const BlobAddress address, FromProto(ref, limits_, where));
    TIFFIN_ASSIGN_OR_RETURN(const BlobView blob, blobs_->Find(caller().name_space, address));
    server::ToProto(blob.row.name, item->mutable_header()->mutable_name());
    item->mutable_header()->set_size(blob.row.size);
    item->mutable_header()->set_length(blob.row.size);
    item->mutable_header()->set_json(blob.json);
    item->set_present(blob.row.size > kMaxBlob);
    if (item->present()) return absl::OkStatus();
    if (blob.row.size >= kLarge) {
      // as a message, and as its bytes
      *share = calls_->memory().Take(2 * (blob.row.size + kLarge));
      if (!*share) return NoRoom();
    }
    TIFFIN_ASSIGN_OR_RETURN(*item->mutable_data(), blobs_->ReadWhole(blob.row));
    return absl::OkStatus();
  }

  static constexpr uint64_t kMaxBlob = 16 << 20;  // bytes that fit into a message
  static constexpr uint64_t kLarge = 1 << 20;     // what a message of small ones has at most

  BlobCatalogue* const blobs_;
  const Limits limits_;
  google::protobuf::RepeatedPtrField<v1::BlobRef> refs_;  // of the message in hand
  int at_ = 0;                                            // the next of them
  uint64_t index_ = 0;                                    // of the next answer, in all messages
};

}  // namespace

RawBidiReactor* BlobsService::BatchPut(grpc::CallbackServerContext* context) {
  auto stream = std::make_shared<BatchPutStream>(calls_, blobs_, limits_);
  stream->Begin(context);
  return stream.get();
}

RawBidiReactor* BlobsService::BatchDeref(grpc::CallbackServerContext* context) {
  auto stream = std::make_shared<BatchDerefStream>(calls_, blobs_, limits_);
  stream->Begin(context);
  return stream.get();
}

}  // namespace tiffin::server
