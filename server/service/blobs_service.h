// tiffin.v1.Blobs: from the wire to BlobCatalogue and back.
#ifndef TIFFIN_SERVER_SERVICE_BLOBS_SERVICE_H_
#define TIFFIN_SERVER_SERVICE_BLOBS_SERVICE_H_

#include "server/service/calls.h"
#include "server/store/blob_catalogue.h"
#include "server/store/record_gate.h"
#include "tiffin/v1/blobs.grpc.pb.h"

namespace tiffin::server {

class BlobsService : public v1::Blobs::CallbackService {
 public:
  // All outlive the service.
  BlobsService(BlobCatalogue* blobs, const Limits& limits, Calls* calls)
      : blobs_(blobs), limits_(limits), calls_(calls) {}

  grpc::ServerUnaryReactor* FindMissing(grpc::CallbackServerContext* context,
                                        const v1::FindMissingRequest* request,
                                        v1::FindMissingResponse* response) override;
  grpc::ServerReadReactor<v1::PutRequest>* Put(grpc::CallbackServerContext* context,
                                               v1::PutResponse* response) override;
  grpc::ServerUnaryReactor* BatchPut(grpc::CallbackServerContext* context,
                                     const v1::BatchPutRequest* request,
                                     v1::BatchPutResponse* response) override;
  grpc::ServerWriteReactor<v1::DerefResponse>* Deref(grpc::CallbackServerContext* context,
                                                     const v1::DerefRequest* request) override;
  grpc::ServerUnaryReactor* BatchDeref(grpc::CallbackServerContext* context,
                                       const v1::BatchDerefRequest* request,
                                       v1::BatchDerefResponse* response) override;
  grpc::ServerUnaryReactor* Stat(grpc::CallbackServerContext* context,
                                 const v1::StatRequest* request,
                                 v1::StatResponse* response) override;

 private:
  BlobCatalogue* const blobs_;
  const Limits limits_;
  Calls* const calls_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_BLOBS_SERVICE_H_
