#include "server/service/blobs_service.h"

#include "common/status.h"
#include "server/service/convert.h"
#include "server/service/deref_stream.h"
#include "server/service/put_stream.h"

namespace tiffin::server {
namespace {

constexpr size_t kMaxBatchPutBytes = 16 << 20;

absl::Status CheckBatch(size_t n, const Limits& limits, std::string_view what) {
  if (n <= limits.max_batch) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat(what, ": ", n, " items, the limit is ", limits.max_batch));
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
          TIFFIN_ASSIGN_OR_RETURN(*item->mutable_data(), blobs_->ReadWhole(blob.row));
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

grpc::ServerUnaryReactor* BlobsService::QueryPut(grpc::CallbackServerContext* context,
                                                 const v1::QueryPutRequest* request,
                                                 v1::QueryPutResponse* response) {
  return calls_->Unary(context, "QueryPut", request, calls_->reads(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      TIFFIN_ASSIGN_OR_RETURN(const BlobName name, FromProto(request->name(), "name"));
      TIFFIN_ASSIGN_OR_RETURN(const UploadProgress state, blobs_->QueryPut(caller.name_space, name));
      response->set_exists(state.exists);
      response->set_received(state.received);
      return absl::OkStatus();
    }());
  });
}

grpc::ServerReadReactor<grpc::ByteBuffer>* BlobsService::Put(grpc::CallbackServerContext* context,
                                                             grpc::ByteBuffer* response) {
  return StartPut(calls_, blobs_, context, response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* BlobsService::Deref(grpc::CallbackServerContext*,
                                                                const grpc::ByteBuffer* request) {
  return StartDeref(calls_, blobs_, limits_, allow_local_, request);
}

}  // namespace tiffin::server
