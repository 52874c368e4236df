// From gRPC's status to Abseil's, details included. Private to the library.
#ifndef TIFFIN_CLIENT_GRPC_STATUS_H_
#define TIFFIN_CLIENT_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace tiffin {

// Names of payloads, as absl::Status::GetPayload takes them.
inline constexpr char kRetryInfoType[] = "type.googleapis.com/google.rpc.RetryInfo";
inline constexpr char kMissingBlobsType[] = "type.googleapis.com/tiffin.v1.MissingBlobs";

// The same code and message. What the server attached becomes payloads: with FAILED_PRECONDITION
// the MissingBlobs of a StoreResult, else each detail of a google.rpc.Status under its own type. A
// stream that gRPC reset for want of memory gets a RetryInfo that leaves the time to the client.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_GRPC_STATUS_H_
