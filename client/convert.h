// Between the wire and the client's words. Private to the library.
#ifndef TIFFIN_CLIENT_CONVERT_H_
#define TIFFIN_CLIENT_CONVERT_H_

#include "absl/status/statusor.h"
#include "client/client.h"

namespace tiffin {

// INTERNAL if the server's answer cannot be read.
absl::StatusOr<StoredResult> FromProto(const v1::Result& result);
absl::StatusOr<Submitted> FromProto(const v1::SubmitResponse& response);
absl::StatusOr<Stored> FromProto(const v1::StoreResultResponse& response);
// Of an event that ends a job; `index` is left to the caller.
absl::StatusOr<Awaited> FromProto(const v1::AwaitResponse& response);
absl::StatusOr<BlobName> FromProto(const v1::BlobName& name);
absl::Duration FromProto(const google::protobuf::Duration& duration);
Lease FromProto(const v1::Lease& lease);
absl::Status FromProto(const v1::ItemStatus& status);

v1::Bulk ToProto(Bulk bulk);
void ToProto(const BlobName& name, v1::BlobName* out);
void ToProto(absl::Duration duration, google::protobuf::Duration* out);

// "error: message" of an error record, for people.
std::string ErrorText(const StoredResult& failure);

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_CONVERT_H_
