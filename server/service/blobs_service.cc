#include "server/service/blobs_service.h"

#include "common/status.h"
#include "server/service/convert.h"
#include "server/service/deref_stream.h"
#include "server/service/put_stream.h"

namespace tiffin::server {
BlobsService::BlobsService(BlobCatalogue* blobs, const Limits& limits, bool allow_local,
                           Calls* calls)
    : blobs_(blobs), limits_(limits), allow_local_(allow_local), calls_(calls) {
  CountMessages(this, &BlobsService::SetMessageAllocatorFor_FindMissing);
  CountMessages(this, &BlobsService::SetMessageAllocatorFor_QueryPut);
  CountMessages(this, &BlobsService::SetMessageAllocatorFor_Stat);
}

grpc::ServerUnaryReactor* BlobsService::FindMissing(grpc::CallbackServerContext* context,
                                                    const v1::FindMissingRequest* request,
                                                    v1::FindMissingResponse* response) {
  return calls_->Unary(context, "FindMissing", request, response, calls_->reads(), [=, this] {
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

grpc::ServerUnaryReactor* BlobsService::Stat(grpc::CallbackServerContext* context,
                                             const v1::StatRequest* request,
                                             v1::StatResponse* response) {
  return calls_->Unary(context, "Stat", request, response, calls_->reads(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      TIFFIN_ASSIGN_OR_RETURN(const BlobAddress address, FromProto(request->ref(), limits_, "ref"));
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
  return calls_->Unary(context, "QueryPut", request, response, calls_->reads(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      TIFFIN_ASSIGN_OR_RETURN(const BlobName name, FromProto(request->name(), "name"));
      TIFFIN_ASSIGN_OR_RETURN(const UploadProgress state,
                              blobs_->QueryPut(caller.name_space, name));
      response->set_exists(state.exists);
      response->set_received(state.received);
      response->set_sending(state.sending);
      return absl::OkStatus();
    }());
  });
}

grpc::ServerReadReactor<grpc::ByteBuffer>* BlobsService::Put(grpc::CallbackServerContext* context,
                                                             grpc::ByteBuffer* response) {
  return StartPut(calls_, blobs_, context, response);
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* BlobsService::Deref(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return StartDeref(calls_, blobs_, limits_, allow_local_, context, request, &opening_here_);
}

}  // namespace tiffin::server
