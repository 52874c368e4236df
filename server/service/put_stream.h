// Blobs.Put: one upload.
#ifndef TIFFIN_SERVER_SERVICE_PUT_STREAM_H_
#define TIFFIN_SERVER_SERVICE_PUT_STREAM_H_

#include <grpcpp/grpcpp.h>

#include "server/service/calls.h"
#include "server/store/blob_catalogue.h"

namespace tiffin::server {

// Starts the reactor, which deletes itself. The response is written to `response`.
grpc::ServerReadReactor<grpc::ByteBuffer>* StartPut(Calls* calls, BlobCatalogue* blobs,
                                                    grpc::CallbackServerContext* context,
                                                    grpc::ByteBuffer* response);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_PUT_STREAM_H_
