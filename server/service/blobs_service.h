// tiffin.v1.Blobs: from the wire to BlobCatalogue and back.
#ifndef TIFFIN_SERVER_SERVICE_BLOBS_SERVICE_H_
#define TIFFIN_SERVER_SERVICE_BLOBS_SERVICE_H_

#include <atomic>

#include "server/service/bidi_stream.h"
#include "server/service/calls.h"
#include "server/service/methods.h"
#include "server/store/blob_catalogue.h"
#include "server/store/record_gate.h"
#include "tiffin/v1/blobs.grpc.pb.h"

namespace tiffin::server {

// What carries bytes of blobs takes and gives gRPC's buffers as they are, so that none is copied.
using BlobsMethods =
    Methods<v1::Blobs::Service, v1::Blobs::WithCallbackMethod_FindMissing,
            v1::Blobs::WithRawCallbackMethod_Put, v1::Blobs::WithCallbackMethod_QueryPut,
            v1::Blobs::WithRawCallbackMethod_BatchPut, v1::Blobs::WithRawCallbackMethod_Deref,
            v1::Blobs::WithRawCallbackMethod_BatchDeref, v1::Blobs::WithCallbackMethod_Stat>;

class BlobsService : public BlobsMethods {
 public:
  // All outlive the service. `allow_local`: callers on this host may be told where packs lie.
  BlobsService(BlobCatalogue* blobs, const Limits& limits, bool allow_local, Calls* calls);

  grpc::ServerUnaryReactor* FindMissing(grpc::CallbackServerContext* context,
                                        const v1::FindMissingRequest* request,
                                        v1::FindMissingResponse* response) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* Put(grpc::CallbackServerContext* context,
                                                 grpc::ByteBuffer* response) override;
  grpc::ServerUnaryReactor* QueryPut(grpc::CallbackServerContext* context,
                                     const v1::QueryPutRequest* request,
                                     v1::QueryPutResponse* response) override;
  RawBidiReactor* BatchPut(grpc::CallbackServerContext* context) override;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Deref(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) override;
  RawBidiReactor* BatchDeref(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Stat(grpc::CallbackServerContext* context,
                                 const v1::StatRequest* request,
                                 v1::StatResponse* response) override;

 private:
  BlobCatalogue* const blobs_;
  const Limits limits_;
  const bool allow_local_;
  std::atomic<bool> opening_here_{false};  // see StartDeref
  Calls* const calls_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_BLOBS_SERVICE_H_
