#include "client/convert.h"

#include <utility>

#include "common/json.h"
#include "common/status.h"

namespace tiffin {
namespace {

absl::StatusOr<Digest> DigestOf(std::string_view bytes) {
  absl::StatusOr<Digest> digest = Digest::FromBytes(bytes);
  if (!digest.ok()) return absl::InternalError("the server's answer has a malformed key");
  return digest;
}

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

}  // namespace

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

absl::StatusOr<StoredResult> FromProto(const v1::Result& result) {
  StoredResult out;
  out.kind = result.kind() == v1::RESULT_KIND_ERROR      ? StoredResult::Kind::kError
             : result.kind() == v1::RESULT_KIND_WORKFLOW ? StoredResult::Kind::kWorkflow
                                                         : StoredResult::Kind::kValue;
  JsonLimits limits;
  limits.max_text_bytes = size_t{64} << 20;
  absl::StatusOr<Value> value = ParseJson(result.record().json(), limits);
  if (!value.ok()) {
    return absl::InternalError(StrCat("the server's record: ", ToStd(value.status().message())));
  }
  out.value = *std::move(value);
  TIFFIN_ASSIGN_OR_RETURN(out.digest, DigestOf(result.digest()));
  out.stored = FromProto(result.stored());
  out.session = result.session();
  out.host = result.host();
  out.retryable = result.retryable();
  out.compute_time = FromProto(result.compute_time());
  out.exit_status = result.exit_status();
  out.log = result.log();
  if (!result.linked_to().empty()) {
    TIFFIN_ASSIGN_OR_RETURN(out.linked_to, DigestOf(result.linked_to()));
  }
  return out;
}

absl::StatusOr<BlobName> FromProto(const v1::BlobName& name) {
  BlobName out;
  TIFFIN_ASSIGN_OR_RETURN(out.key, DigestOf(name.key()));
  out.dtype = name.dtype();
  out.shape.assign(name.shape().begin(), name.shape().end());
  return out;
}

Lease FromProto(const v1::Lease& lease) {
  return {lease.id(), lease.epoch(), FromProto(lease.term())};
}

absl::StatusOr<Submitted> FromProto(const v1::SubmitResponse& response) {
  Submitted out;
  TIFFIN_ASSIGN_OR_RETURN(out.key, DigestOf(response.key()));
  switch (response.outcome()) {
    case v1::RETRIEVED:
      out.outcome = Submitted::Outcome::kRetrieved;
      break;
    case v1::GRANTED:
      out.outcome = Submitted::Outcome::kGranted;
      break;
    case v1::ATTACHED:
      out.outcome = Submitted::Outcome::kAttached;
      break;
    case v1::OPEN:
      out.outcome = Submitted::Outcome::kOpen;
      break;
    case v1::FAILED:
      out.outcome = Submitted::Outcome::kFailed;
      break;
    default:
      return absl::InternalError("the server's answer has an unknown outcome");
  }
  if (response.has_result()) {
    TIFFIN_ASSIGN_OR_RETURN(out.result, FromProto(response.result()));
  }
  if (response.has_lease()) out.lease = FromProto(response.lease());
  if (out.outcome == Submitted::Outcome::kGranted && !out.lease) {
    return absl::InternalError("the server granted a job without a lease");
  }
  if (response.has_holder()) {
    const v1::Holder& holder = response.holder();
    out.holder = Holder{holder.session(),          holder.name(), holder.user(), holder.host(),
                        FromProto(holder.since()), holder.epoch()};
  }
  if (response.has_workflow()) {
    TIFFIN_ASSIGN_OR_RETURN(out.workflow, FromProto(response.workflow()));
  }
  for (const v1::BlobName& name : response.missing().blobs()) {
    TIFFIN_ASSIGN_OR_RETURN(BlobName blob, FromProto(name));
    out.missing_blobs.push_back(std::move(blob));
  }
  for (const std::string& value : response.missing().values()) {
    TIFFIN_ASSIGN_OR_RETURN(const Digest digest, DigestOf(value));
    out.missing_values.push_back(digest);
  }
  return out;
}

absl::StatusOr<Stored> FromProto(const v1::StoreResultResponse& response) {
  Stored stored;
  TIFFIN_ASSIGN_OR_RETURN(stored.key, DigestOf(response.key()));
  TIFFIN_ASSIGN_OR_RETURN(stored.digest, DigestOf(response.digest()));
  stored.repeated = response.repeated_store();
  for (const v1::BlobName& name : response.stored_blobs()) {
    TIFFIN_ASSIGN_OR_RETURN(BlobName blob, FromProto(name));
    stored.blobs.push_back(std::move(blob));
  }
  return stored;
}

absl::StatusOr<Awaited> FromProto(const v1::AwaitResponse& response) {
  Awaited out;
  TIFFIN_ASSIGN_OR_RETURN(out.key, DigestOf(response.key()));
  out.event = response.event() == v1::AWAIT_RESULT   ? Awaited::Event::kResult
              : response.event() == v1::AWAIT_FAILED ? Awaited::Event::kFailed
                                                     : Awaited::Event::kGranted;
  if (response.has_result()) {
    TIFFIN_ASSIGN_OR_RETURN(out.result, FromProto(response.result()));
  }
  if (response.has_lease()) out.lease = FromProto(response.lease());
  if (response.has_workflow()) {
    TIFFIN_ASSIGN_OR_RETURN(out.workflow, FromProto(response.workflow()));
  }
  if (out.event == Awaited::Event::kGranted ? !out.lease : !out.result) {
    return absl::InternalError("the server ended a job with neither result nor lease");
  }
  return out;
}

absl::Status FromProto(const v1::ItemStatus& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.code()), status.message());
}

v1::Bulk ToProto(Bulk bulk) { return bulk == Bulk::kInline ? v1::BULK_INLINE : v1::BULK_REFS; }

void ToProto(const BlobName& name, v1::BlobName* out) {
  out->set_key(std::string(name.key.view()));
  out->set_dtype(name.dtype);
  out->mutable_shape()->Assign(name.shape.begin(), name.shape.end());
}

void ToProto(absl::Duration duration, google::protobuf::Duration* out) {
  out->set_seconds(absl::ToInt64Seconds(duration));
  out->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(duration - absl::Seconds(out->seconds()))));
}

std::string ErrorText(const StoredResult& failure) {
  const Object* error = failure.value.if_object();
  const Value* message = error ? error->Find("message") : nullptr;
  if (message && message->if_string()) return *message->if_string();
  return PrintJson(failure.value).substr(0, 1000);
}

}  // namespace tiffin
