// Between the wire and the store's words. INVALID_ARGUMENT names the member.
#ifndef TIFFIN_SERVER_SERVICE_CONVERT_H_
#define TIFFIN_SERVER_SERVICE_CONVERT_H_

#include <grpcpp/support/status.h>

#include <string_view>

#include "absl/status/statusor.h"
#include "server/store/answers.h"
#include "server/store/blob_catalogue.h"
#include "server/store/job_store.h"
#include "tiffin/v1/admin.pb.h"
#include "tiffin/v1/blobs.pb.h"
#include "tiffin/v1/jobs.pb.h"

namespace tiffin::server {

grpc::Status ToGrpc(const absl::Status& status);
// A status with `missing` as its details.
grpc::Status ToGrpc(const absl::Status& status, const Missing& missing);
void ToProto(const absl::Status& status, v1::ItemStatus* out);

absl::StatusOr<CallerInfo> FromProto(const v1::Caller& caller);
absl::StatusOr<Digest> KeyFromProto(std::string_view bytes, std::string_view where);
absl::StatusOr<std::string_view> JsonOf(const v1::Record& record, std::string_view where);
absl::StatusOr<JobAddress> FromProto(const v1::JobName& name, std::string_view where);
// The absent term is the default.
absl::StatusOr<absl::Duration> TermFromProto(bool present, const google::protobuf::Duration& term,
                                             const Limits& limits, std::string_view where);
// `key_known` tells whether a key was given; without `key_known` one is needed.
absl::StatusOr<BlobName> FromProto(const v1::BlobName& name, std::string_view where,
                                   bool* key_known = nullptr);
absl::StatusOr<BlobAddress> FromProto(const v1::BlobRef& ref, const Limits& limits,
                                      std::string_view where);
absl::StatusOr<StoreRequest> FromProto(const v1::StoreResultRequest& request);

void ToProto(const BlobName& name, v1::BlobName* out);
void ToProto(const PutOutcome& outcome, v1::PutResponse* out);
void ToProto(const Missing& missing, v1::MissingBlobs* out);
void ToProto(const StoredResult& result, v1::Result* out);
void ToProto(const HolderInfo& holder, v1::Holder* out);
void ToProto(const LeaseRow& lease, v1::Lease* out);
void ToProto(const SubmitAnswer& answer, v1::SubmitResponse* out);
void ToProto(const WaitEvent& event, v1::AwaitResponse* out);
void ToProto(absl::Time time, google::protobuf::Timestamp* out);
void ToProto(absl::Duration duration, google::protobuf::Duration* out);

// INVALID_ARGUMENT: more items than one message may have.
absl::Status CheckBatch(size_t n, const Limits& limits, std::string_view what);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_CONVERT_H_
