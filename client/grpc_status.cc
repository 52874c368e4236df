#include "client/grpc_status.h"

#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "client/foreign.pb.h"

namespace tiffin {
namespace {

// How gRPC words the end of a stream that it had no room to read (ENHANCE_YOUR_CALM): before the
// server saw the call, which could have said when to come back.
constexpr char kNoRoomToRead[] = "RST_STREAM with error code 11";

}  // namespace

absl::Status FromGrpc(const grpc::Status& status) {
  absl::Status out(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  const std::string details = status.error_details();
  if (absl::IsResourceExhausted(out) && absl::StrContains(out.message(), kNoRoomToRead)) {
    out.SetPayload(kRetryInfoType, absl::Cord(foreign::RetryInfo().SerializeAsString()));
  }
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
