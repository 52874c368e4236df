// Blobs.Deref: one download.
#ifndef TIFFIN_SERVER_SERVICE_DEREF_STREAM_H_
#define TIFFIN_SERVER_SERVICE_DEREF_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <atomic>

#include "server/service/calls.h"
#include "server/store/blob_catalogue.h"
#include "server/store/record_gate.h"

namespace tiffin::server {

// Starts the reactor, which deletes itself. `allow_local`: callers may be told where packs lie.
// `opening_here`: whether one is being opened on a thread of gRPC's; those that come meanwhile are
// handed over.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartDeref(Calls* calls, BlobCatalogue* blobs,
                                                       const Limits& limits, bool allow_local,
                                                       grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request,
                                                       std::atomic<bool>* opening_here);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_DEREF_STREAM_H_
