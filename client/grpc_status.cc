#include "client/grpc_status.h"

#include <string>

#include "absl/strings/cord.h"
#include "client/foreign.pb.h"

namespace tiffin {

absl::Status FromGrpc(const grpc::Status& status) {
  absl::Status out(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  const std::string details = status.error_details();
  if (out.ok() || details.empty()) return out;
  if (absl::IsFailedPrecondition(out)) {
    out.SetPayload(kMissingBlobsType, absl::Cord(details));
    return out;
  }
  foreign::RpcStatus rich;
  if (!rich.ParseFromString(details)) return out;  // of no kind we know: code and message remain
  for (const google::protobuf::Any& detail : rich.details()) {
    out.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return out;
}

}  // namespace tiffin
