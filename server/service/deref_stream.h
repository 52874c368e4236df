// Blobs.Deref: one download.
#ifndef TIFFIN_SERVER_SERVICE_DEREF_STREAM_H_
#define TIFFIN_SERVER_SERVICE_DEREF_STREAM_H_

#include <grpcpp/grpcpp.h>

#include "server/service/calls.h"
#include "server/store/blob_catalogue.h"
#include "server/store/record_gate.h"

namespace tiffin::server {

// Starts the reactor, which deletes itself. `allow_local`: callers may be told where packs lie.
grpc::ServerWriteReactor<grpc::ByteBuffer>* StartDeref(Calls* calls, BlobCatalogue* blobs,
                                                       const Limits& limits, bool allow_local,
                                                       const grpc::ByteBuffer* request);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_DEREF_STREAM_H_
