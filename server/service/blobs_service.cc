#include "server/service/blobs_service.h"

#include "common/status.h"
#include "server/service/convert.h"

namespace tiffin::server {
namespace {

constexpr size_t kMaxBatchPutBytes = 16 << 20;

absl::Status CheckBatch(size_t n, const Limits& limits, std::string_view what) {
  if (n <= limits.max_batch) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat(what, ": ", n, " items, the limit is ", limits.max_batch));
}

void ToProto(const PutOutcome& outcome, v1::PutResponse* out) {
  server::ToProto(outcome.name, out->mutable_name());
  out->set_size(outcome.size);
  out->set_existed(outcome.existed);
}

void HeaderOf(const BlobView& blob, uint64_t length, v1::DerefResponse::Header* out) {
  server::ToProto(blob.row.name, out->mutable_name());
  out->set_size(blob.row.size);
  out->set_length(length);
  out->set_json(blob.json);
}

}  // namespace

grpc::ServerUnaryReactor* BlobsService::FindMissing(grpc::CallbackServerContext* context,
                                                    const v1::FindMissingRequest* request,
                                                    v1::FindMissingResponse* response) {
  return calls_->Unary(context, "FindMissing", request, calls_->reads(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      TIFFIN_RETURN_IF_ERROR(
          CheckBatch(request->blobs_size() + request->values_size(), limits_, "blobs"));
      std::vector<RecordRef> refs;
      for (int i = 0; i < request->blobs_size(); ++i) {
        TIFFIN_ASSIGN_OR_RETURN(BlobName name,
                                FromProto(request->blobs(i), StrCat("blobs[", i, "]")));
        refs.emplace_back(std::move(name));
      }
      for (int i = 0; i < request->values_size(); ++i) {
        TIFFIN_ASSIGN_OR_RETURN(const Digest value,
                                KeyFromProto(request->values(i), StrCat("values[", i, "]")));
        refs.emplace_back(ValueRef{value, 0});
      }
      TIFFIN_ASSIGN_OR_RETURN(const Missing missing, blobs_->FindMissing(caller.name_space, refs));
      for (const BlobName& name : missing.blobs) server::ToProto(name, response->add_blobs());
      for (const Digest& value : missing.values) {
        response->add_values(std::string(value.view()));
      }
      return absl::OkStatus();
    }());
  });
}

grpc::ServerUnaryReactor* BlobsService::BatchPut(grpc::CallbackServerContext* context,
                                                 const v1::BatchPutRequest* request,
                                                 v1::BatchPutResponse* response) {
  return calls_->Unary(context, "BatchPut", request, calls_->writes(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      TIFFIN_RETURN_IF_ERROR(CheckBatch(request->items_size(), limits_, "items"));
      size_t bytes = 0;
      for (const auto& item : request->items()) bytes += item.data().size();
      if (bytes > kMaxBatchPutBytes) {
        return absl::InvalidArgumentError(
            StrCat("items: ", bytes, " bytes, the limit is ", kMaxBatchPutBytes));
      }
      std::vector<BlobCatalogue::SmallPut> puts;
      std::vector<int> at;
      for (int i = 0; i < request->items_size(); ++i) {
        v1::BatchPutResponse::Item* item = response->add_items();
        bool known = false;
        absl::StatusOr<BlobName> name = FromProto(request->items(i).name(), "name", &known);
        if (!name.ok()) {
          server::ToProto(name.status(), item->mutable_status());
          continue;
        }
        puts.push_back({*std::move(name), known, request->items(i).data()});
        at.push_back(i);
      }
      const auto outcomes = blobs_->PutSmall(caller.name_space, std::move(puts));
      for (size_t i = 0; i < outcomes.size(); ++i) {
        v1::BatchPutResponse::Item* item = response->mutable_items(at[i]);
        if (outcomes[i].ok()) {
          ToProto(*outcomes[i], item->mutable_response());
        } else {
          server::ToProto(outcomes[i].status(), item->mutable_status());
        }
      }
      return absl::OkStatus();
    }());
  });
}

grpc::ServerUnaryReactor* BlobsService::BatchDeref(grpc::CallbackServerContext* context,
                                                   const v1::BatchDerefRequest* request,
                                                   v1::BatchDerefResponse* response) {
  return calls_->Unary(context, "BatchDeref", request, calls_->reads(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      TIFFIN_RETURN_IF_ERROR(CheckBatch(request->refs_size(), limits_, "refs"));
      size_t budget = limits_.max_reply_bytes;
      for (int i = 0; i < request->refs_size(); ++i) {
        v1::BatchDerefResponse::Item* item = response->add_items();
        const absl::Status status = [&]() -> absl::Status {
          TIFFIN_ASSIGN_OR_RETURN(
              const BlobAddress address,
              FromProto(request->refs(i), limits_, StrCat("refs[", i, "]")));
          TIFFIN_ASSIGN_OR_RETURN(const BlobView blob, blobs_->Find(caller.name_space, address));
          HeaderOf(blob, blob.row.size, item->mutable_header());
          if (blob.row.size > budget) {
            item->set_present(true);
            return absl::OkStatus();
          }
          TIFFIN_ASSIGN_OR_RETURN(const BlobSlice slice, blobs_->Read(blob.row, 0, blob.row.size));
          item->set_data(std::string(slice.bytes));
          budget -= blob.row.size;
          return absl::OkStatus();
        }();
        if (!status.ok()) server::ToProto(status, item->mutable_status());
      }
      return absl::OkStatus();
    }());
  });
}

grpc::ServerUnaryReactor* BlobsService::Stat(grpc::CallbackServerContext* context,
                                             const v1::StatRequest* request,
                                             v1::StatResponse* response) {
  return calls_->Unary(context, "Stat", request, calls_->reads(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      TIFFIN_ASSIGN_OR_RETURN(const BlobAddress address,
                              FromProto(request->ref(), limits_, "ref"));
      TIFFIN_ASSIGN_OR_RETURN(const BlobStat stat, blobs_->Stat(caller.name_space, address));
      server::ToProto(stat.blob.row.name, response->mutable_name());
      response->set_size(stat.blob.row.size);
      response->set_pack(stat.pack);
      response->set_sealed(stat.sealed);
      server::ToProto(stat.blob.row.created, response->mutable_created());
      for (const Digest& key : stat.made_by) response->add_made_by(std::string(key.view()));
      for (const Digest& key : stat.used_by) response->add_used_by(std::string(key.view()));
      return absl::OkStatus();
    }());
  });
}

namespace {

// One upload. A message is written to disk before the next is read.
class PutReactor : public grpc::ServerReadReactor<v1::PutRequest>,
                   public OpenStream,
                   public std::enable_shared_from_this<PutReactor> {
 public:
  PutReactor(Calls* calls, BlobCatalogue* blobs, v1::PutResponse* response)
      : calls_(calls), blobs_(blobs), response_(response) {}

  void Begin() {
    self_ = shared_from_this();
    added_ = true;  // before a drain can end it
    if (!calls_->Add(self_)) {
      added_ = false;
      End(DrainingStatus());
    } else {
      StartRead(&request_);
    }
  }
  void Drain() override { End(DrainingStatus()); }
  void OnCancel() override { End(grpc::Status::CANCELLED); }

  void OnReadDone(bool ok) override {
    {
      std::lock_guard lock(mutex_);
      ++holds_;
    }
    calls_->streams().Add([self = self_, this, ok] {
      absl::Status status;
      bool over = !ok;
      if (ok) {
        status = Take(&over);
      } else if (!Ended()) {
        status = Finish();
      }
      if (!status.ok() || over) {
        End(ToGrpc(status));
      } else {
        StartRead(&request_);
      }
      std::unique_lock lock(mutex_);
      --holds_;
      Next(lock);
    });
  }

  void OnDone() override {
    if (added_) calls_->Remove(self_);
    upload_.reset();
    self_.reset();  // may delete this
  }

 private:
  absl::Status Take(bool* over) {
    if (!begun_) {
      begun_ = true;
      if (!request_.has_header()) {
        return absl::InvalidArgumentError("the first message must be the header");
      }
      const v1::PutRequest::Header& header = request_.header();
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(header.caller()));
      name_space_ = caller.name_space;
      bool known = false;
      TIFFIN_ASSIGN_OR_RETURN(const BlobName name, FromProto(header.name(), "header.name", &known));
      TIFFIN_ASSIGN_OR_RETURN(auto begun, blobs_->BeginPut(name_space_, name, known));
      if (const auto* outcome = std::get_if<PutOutcome>(&begun)) {
        ToProto(*outcome, response_);
        *over = true;
        return absl::OkStatus();
      }
      upload_ = std::move(std::get<std::unique_ptr<Upload>>(begun));
      return absl::OkStatus();
    }
    if (request_.part_case() != v1::PutRequest::kChunk) {
      return absl::InvalidArgumentError("a message without chunk after the header");
    }
    return upload_->Append(request_.chunk());
  }

  absl::Status Finish() {
    if (!upload_) return absl::InvalidArgumentError("the upload has no header");
    TIFFIN_ASSIGN_OR_RETURN(const PutOutcome outcome,
                            blobs_->FinishPut(name_space_, std::move(upload_)));
    ToProto(outcome, response_);
    return absl::OkStatus();
  }

  bool Ended() {
    std::lock_guard lock(mutex_);
    return ended_.has_value();
  }
  void End(grpc::Status status) {
    std::unique_lock lock(mutex_);
    if (!ended_) ended_ = std::move(status);
    Next(lock);
  }
  void Next(std::unique_lock<std::mutex>& lock) {
    if (!ended_ || holds_ > 0 || finished_) return;
    finished_ = true;
    const grpc::Status status = *ended_;
    const auto self = shared_from_this();  // OnDone may come before Finish returns
    lock.unlock();
    grpc::ServerReadReactor<v1::PutRequest>::Finish(status);
  }

  Calls* const calls_;
  BlobCatalogue* const blobs_;
  v1::PutResponse* const response_;
  std::shared_ptr<PutReactor> self_;
  bool added_ = false;
  v1::PutRequest request_;
  bool begun_ = false;
  std::string name_space_;
  std::unique_ptr<Upload> upload_;
  std::mutex mutex_;  // guards all below
  int holds_ = 0;
  bool finished_ = false;
  std::optional<grpc::Status> ended_;
};

// One download: slices of at most 1 MiB, the next read when the last is on its way.
class DerefReactor : public grpc::ServerWriteReactor<v1::DerefResponse>,
                     public OpenStream,
                     public std::enable_shared_from_this<DerefReactor> {
 public:
  DerefReactor(Calls* calls, BlobCatalogue* blobs, const Limits& limits,
               const v1::DerefRequest* request)
      : calls_(calls), blobs_(blobs), limits_(limits), request_(request) {}

  void Begin() {
    self_ = shared_from_this();
    added_ = true;  // before a drain can end it
    if (!calls_->Add(self_)) {
      added_ = false;
      Finish(DrainingStatus());
      return;
    }
    Step();
  }
  // Noticed before the next slice.
  void Drain() override { drained_ = true; }
  void OnCancel() override { cancelled_ = true; }
  void OnWriteDone(bool ok) override {
    if (!ok) cancelled_ = true;
    Step();
  }
  void OnDone() override {
    if (added_) calls_->Remove(self_);
    self_.reset();  // may delete this
  }

 private:
  // Only one step is under way at a time: started by Begin, then by each OnWriteDone.
  void Step() {
    calls_->streams().Add([self = self_, this] {
      if (cancelled_) return Finish(grpc::Status::CANCELLED);
      if (drained_) return Finish(DrainingStatus());
      const absl::Status status = header_sent_ ? Chunk() : Header();
      if (!status.ok()) return Finish(ToGrpc(status));
      if (over_) return Finish(grpc::Status::OK);
      StartWrite(&response_);
    });
  }

  absl::Status Header() {
    TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request_->caller()));
    TIFFIN_ASSIGN_OR_RETURN(const BlobAddress address,
                            FromProto(request_->ref(), limits_, "ref"));
    TIFFIN_ASSIGN_OR_RETURN(blob_, blobs_->Find(caller.name_space, address));
    if (request_->offset() > blob_.row.size) {
      return absl::OutOfRangeError(StrCat("offset: ", request_->offset(), ", the blob has ",
                                          blob_.row.size, " bytes"));
    }
    at_ = request_->offset();
    uint64_t length = blob_.row.size - at_;
    if (request_->has_limit()) length = std::min(length, request_->limit());
    end_ = at_ + length;
    HeaderOf(blob_, length, response_.mutable_header());
    header_sent_ = true;
    return absl::OkStatus();
  }

  absl::Status Chunk() {
    over_ = at_ == end_;
    if (over_) return absl::OkStatus();
    // Up to the end of a checksum block, so that each block is checked once.
    const uint64_t stop = std::min(end_, (at_ / kChecksumBlock + 1) * kChecksumBlock);
    TIFFIN_ASSIGN_OR_RETURN(const BlobSlice slice, blobs_->Read(blob_.row, at_, stop - at_));
    response_.set_chunk(std::string(slice.bytes));
    at_ = stop;
    return absl::OkStatus();
  }

  Calls* const calls_;
  BlobCatalogue* const blobs_;
  const Limits& limits_;
  const v1::DerefRequest* const request_;
  std::shared_ptr<DerefReactor> self_;
  bool added_ = false;
  std::atomic<bool> drained_{false}, cancelled_{false};
  BlobView blob_;
  uint64_t at_ = 0, end_ = 0;
  bool header_sent_ = false, over_ = false;
  v1::DerefResponse response_;
};

}  // namespace

grpc::ServerReadReactor<v1::PutRequest>* BlobsService::Put(grpc::CallbackServerContext*,
                                                           v1::PutResponse* response) {
  auto reactor = std::make_shared<PutReactor>(calls_, blobs_, response);
  reactor->Begin();
  return reactor.get();
}

grpc::ServerWriteReactor<v1::DerefResponse>* BlobsService::Deref(
    grpc::CallbackServerContext*, const v1::DerefRequest* request) {
  auto reactor = std::make_shared<DerefReactor>(calls_, blobs_, limits_, request);
  reactor->Begin();
  return reactor.get();
}

}  // namespace tiffin::server
