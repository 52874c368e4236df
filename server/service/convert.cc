#include "server/service/convert.h"

#include <algorithm>
#include <cctype>

#include "common/json.h"
#include "common/record.h"
#include "common/status.h"
#include "common/utf8.h"

namespace tiffin::server {
namespace {

constexpr size_t kMaxToken = 128;
// gRPC drops a status whose trailers exceed 8 KiB.
constexpr size_t kMaxMessage = 1200;  // a byte may take three on the way
constexpr size_t kMaxDetails = 3000;

absl::Status Invalid(std::string_view where, std::string_view what) {
  return absl::InvalidArgumentError(std::string(where) + ": " + std::string(what));
}

bool IsNamespace(std::string_view name) {
  return name.size() <= kMaxToken && std::all_of(name.begin(), name.end(), [](unsigned char c) {
           return std::isalnum(c) || c == '.' || c == '_' || c == '-' || c == '/' || c == ':';
         });
}

std::string Trimmed(std::string_view message) {
  std::string out = CutUtf8(ToValidUtf8(message), kMaxMessage);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  return out;
}

}  // namespace

grpc::Status ToGrpc(const absl::Status& status) {
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      Trimmed(std::string(status.message())));
}

grpc::Status ToGrpc(const absl::Status& status, const Missing& missing) {
  if (missing.empty()) return ToGrpc(status);
  v1::MissingBlobs details;
  ToProto(missing, &details);
  // What does not fit is told by FindMissing.
  while (details.ByteSizeLong() > kMaxDetails && details.blobs_size() > 0) {
    details.mutable_blobs()->RemoveLast();
  }
  while (details.ByteSizeLong() > kMaxDetails) details.mutable_values()->RemoveLast();
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()),
                      Trimmed(std::string(status.message())), details.SerializeAsString());
}

void ToProto(const absl::Status& status, v1::ItemStatus* out) {
  out->set_code(static_cast<int>(status.code()));
  out->set_message(Trimmed(std::string(status.message())));
}

absl::StatusOr<CallerInfo> FromProto(const v1::Caller& caller) {
  CallerInfo info;
  if (!caller.namespace_().empty()) info.name_space = caller.namespace_();
  if (!IsNamespace(info.name_space)) {
    return Invalid("caller.namespace", "letters, digits and . _ - / : only, at most 128");
  }
  if (caller.request_id().size() > kMaxToken) return Invalid("caller.request_id", "over 128 bytes");
  info.request_id = caller.request_id();
  const v1::Session& session = caller.session();
  for (const std::string* text :
       {&session.id(), &session.name(), &session.user(), &session.host()}) {
    if (text->size() > kMaxToken) return Invalid("caller.session", "a member over 128 bytes");
  }
  if (session.script().size() > 4096) return Invalid("caller.session.script", "over 4 KiB");
  info.session.token = session.id();
  info.session.name = session.name();
  info.session.user = session.user();
  info.session.host = session.host();
  info.session.script = session.script();
  info.session.since = session.has_since() ? absl::FromUnixSeconds(session.since().seconds()) +
                                                 absl::Nanoseconds(session.since().nanos())
                                           : absl::Now();
  return info;
}

absl::StatusOr<Digest> KeyFromProto(std::string_view bytes, std::string_view where) {
  absl::StatusOr<Digest> key = Digest::FromBytes(bytes);
  if (!key.ok()) return Annotate(key.status(), where);
  return key;
}

absl::StatusOr<std::string_view> JsonOf(const v1::Record& record, std::string_view where) {
  if (record.encoding_case() != v1::Record::kJson) return Invalid(where, "no JSON text");
  return std::string_view(record.json());
}

absl::StatusOr<JobAddress> FromProto(const v1::JobName& name, std::string_view where) {
  if (name.by_case() == v1::JobName::kKey) {
    TIFFIN_ASSIGN_OR_RETURN(const Digest key,
                            KeyFromProto(name.key(), std::string(where) + ".key"));
    return key;
  }
  if (name.by_case() == v1::JobName::kAlias) {
    if (name.alias().name().empty() || name.alias().name().size() > 1024) {
      return Invalid(std::string(where) + ".alias.name", "must have 1 to 1024 bytes");
    }
    return AliasKey{name.alias().profile(), name.alias().name()};
  }
  return Invalid(where, "neither key nor alias");
}

absl::StatusOr<absl::Duration> TermFromProto(bool present, const google::protobuf::Duration& term,
                                             const Limits& limits, std::string_view where) {
  if (!present) return limits.default_term;
  const absl::Duration duration = absl::Seconds(term.seconds()) + absl::Nanoseconds(term.nanos());
  if (duration < limits.min_term || duration > limits.max_term) {
    return Invalid(where, "a term lasts from " + absl::FormatDuration(limits.min_term) + " to " +
                              absl::FormatDuration(limits.max_term));
  }
  return duration;
}

absl::StatusOr<BlobName> FromProto(const v1::BlobName& name, std::string_view where,
                                   bool* key_known) {
  BlobName out;
  const bool known = !name.key().empty();
  if (key_known) *key_known = known;
  if (known || !key_known) {
    TIFFIN_ASSIGN_OR_RETURN(out.key, KeyFromProto(name.key(), std::string(where) + ".key"));
  }
  out.dtype = name.dtype();
  out.shape.assign(name.shape().begin(), name.shape().end());
  absl::StatusOr<DType> dtype = ParseDType(out.dtype);
  if (!dtype.ok()) return Annotate(dtype.status(), std::string(where) + ".dtype");
  absl::StatusOr<uint64_t> size = ArrayBytes(*dtype, out.shape);
  if (!size.ok()) return Annotate(size.status(), std::string(where) + ".shape");
  return out;
}

absl::StatusOr<BlobAddress> FromProto(const v1::BlobRef& ref, const Limits& limits,
                                      std::string_view where) {
  const std::string at(where);
  switch (ref.by_case()) {
    case v1::BlobRef::kName: {
      TIFFIN_ASSIGN_OR_RETURN(BlobName name, FromProto(ref.name(), at + ".name"));
      return name;
    }
    case v1::BlobRef::kKey: {
      TIFFIN_ASSIGN_OR_RETURN(const Digest key, KeyFromProto(ref.key(), at + ".key"));
      return key;
    }
    case v1::BlobRef::kValue: {
      TIFFIN_ASSIGN_OR_RETURN(const Digest value, KeyFromProto(ref.value(), at + ".value"));
      return ValueRef{value, 0};
    }
    case v1::BlobRef::kRecord:
      break;
    default:
      return Invalid(where, "names nothing");
  }
  TIFFIN_ASSIGN_OR_RETURN(const std::string_view json, JsonOf(ref.record(), at + ".record"));
  absl::StatusOr<Value> value = ParseJson(json, limits.json);
  if (!value.ok()) return Annotate(value.status(), at + ".record");
  const Object* record = AsRecord(*value);
  if (!record) return Invalid(at + ".record", "no record");
  absl::StatusOr<std::optional<RecordRef>> found = RefOf(*record);
  if (!found.ok()) return Annotate(found.status(), at + ".record");
  if (*found) {
    if (const auto* name = std::get_if<BlobName>(&**found)) return *name;
    return std::get<ValueRef>(**found);
  }
  if (NamesFiles(*record)) {
    const Value* host = record->Find("host");
    return absl::FailedPreconditionError(at + ".record: a file that only its host can read: host " +
                                         (host ? PrintJson(*host) : "null") + ", files " +
                                         PrintJson(*record->Find("files")));
  }
  return Invalid(at + ".record", "no ref");
}

absl::StatusOr<StoreRequest> FromProto(const v1::StoreResultRequest& request) {
  StoreRequest out;
  if (!request.key().empty()) {
    TIFFIN_ASSIGN_OR_RETURN(out.key, KeyFromProto(request.key(), "key"));
  }
  out.lease_id = request.lease();
  out.epoch = request.epoch();
  if (out.epoch < 0) return Invalid("epoch", "negative");
  switch (request.kind()) {
    case v1::RESULT_KIND_UNSPECIFIED:
      break;
    case v1::RESULT_KIND_VALUE:
      out.kind = ResultKind::kValue;
      break;
    case v1::RESULT_KIND_ERROR:
      out.kind = ResultKind::kError;
      break;
    case v1::RESULT_KIND_WORKFLOW:
      out.kind = ResultKind::kWorkflow;
      break;
    default:
      return Invalid("kind", "unknown");
  }
  TIFFIN_ASSIGN_OR_RETURN(const std::string_view json, JsonOf(request.record(), "record"));
  out.record = std::string(json);
  out.retryable = request.retryable();
  out.compute_seconds =
      static_cast<double>(request.compute_time().seconds()) + request.compute_time().nanos() * 1e-9;
  out.exit_status = request.exit_status();
  out.log = request.log();
  for (int i = 0; i < request.blobs_size(); ++i) {
    const v1::SmallBlob& blob = request.blobs(i);
    const std::string where = "blobs[" + std::to_string(i) + "]";
    bool known = false;
    TIFFIN_ASSIGN_OR_RETURN(const BlobName name, FromProto(blob.name(), where + ".name", &known));
    Array array{name.dtype, name.shape, blob.data()};
    TIFFIN_ASSIGN_OR_RETURN(const DType dtype, ParseDType(name.dtype));
    TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, ArrayBytes(dtype, name.shape));
    if (dtype.has_object()) return Invalid(where + ".name.dtype", "arrays of objects");
    if (DTypeName(dtype) != name.dtype) {
      return Invalid(where + ".name.dtype", StrCat("is written '", DTypeName(dtype), "'"));
    }
    if (size != array.bytes.size()) {
      return Invalid(where + ".data",
                     StrCat(array.bytes.size(), " bytes, dtype and shape tell ", size));
    }
    if (size >= kSmallBlob) return Invalid(where + ".data", "1 MiB or more, use Put");
    if (known && array.Name() != name) return Invalid(where + ".name.key", "not that of the data");
    out.blobs.push_back(std::move(array));
  }
  if (request.has_job()) {
    TIFFIN_ASSIGN_OR_RETURN(const std::string_view job, JsonOf(request.job(), "job"));
    out.job = std::string(job);
  }
  return out;
}

void ToProto(const BlobName& name, v1::BlobName* out) {
  out->set_key(std::string(name.key.view()));
  out->set_dtype(name.dtype);
  out->mutable_shape()->Assign(name.shape.begin(), name.shape.end());
}

void ToProto(const PutOutcome& outcome, v1::PutResponse* out) {
  ToProto(outcome.name, out->mutable_name());
  out->set_size(outcome.size);
  out->set_existed(outcome.existed);
}

void ToProto(const Missing& missing, v1::MissingBlobs* out) {
  for (const BlobName& name : missing.blobs) ToProto(name, out->add_blobs());
  for (const Digest& value : missing.values) out->add_values(std::string(value.view()));
}

void ToProto(absl::Time time, google::protobuf::Timestamp* out) {
  const absl::Duration since = time - absl::UnixEpoch();
  out->set_seconds(absl::ToInt64Seconds(since));
  out->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(since - absl::Seconds(out->seconds()))));
}

void ToProto(absl::Duration duration, google::protobuf::Duration* out) {
  out->set_seconds(absl::ToInt64Seconds(duration));
  out->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(duration - absl::Seconds(out->seconds()))));
}

void ToProto(const StoredResult& result, v1::Result* out) {
  out->set_kind(static_cast<v1::ResultKind>(result.row.kind));
  out->mutable_record()->set_json(result.row.record);
  out->set_digest(std::string(result.row.digest.view()));
  ToProto(result.row.stored, out->mutable_stored());
  out->set_session(result.session);
  out->set_host(result.host);
  out->set_retryable(result.row.retryable);
  ToProto(absl::Seconds(result.row.compute_seconds), out->mutable_compute_time());
  out->set_exit_status(result.row.exit_status);
  out->set_log(result.row.log);
  if (result.linked_to) out->set_linked_to(std::string(result.linked_to->view()));
}

void ToProto(const HolderInfo& holder, v1::Holder* out) {
  out->set_session(holder.session.token);
  out->set_name(holder.session.name);
  out->set_user(holder.session.user);
  out->set_host(holder.session.host);
  ToProto(holder.since, out->mutable_since());
  out->set_epoch(holder.epoch);
}

void ToProto(const LeaseRow& lease, v1::Lease* out) {
  out->set_id(lease.lease_id);
  out->set_epoch(lease.epoch);
  ToProto(lease.term, out->mutable_term());
}

void ToProto(const SubmitAnswer& answer, v1::SubmitResponse* out) {
  using Outcome = SubmitAnswer::Outcome;
  out->set_key(std::string(answer.key.view()));
  switch (answer.outcome) {
    case Outcome::kRetrieved:
      out->set_outcome(v1::RETRIEVED);
      break;
    case Outcome::kGranted:
      out->set_outcome(v1::GRANTED);
      break;
    case Outcome::kAttached:
      out->set_outcome(v1::ATTACHED);
      break;
    case Outcome::kOpen:
      out->set_outcome(v1::OPEN);
      break;
    case Outcome::kFailed:
      out->set_outcome(v1::FAILED);
      break;
  }
  if (answer.result) ToProto(*answer.result, out->mutable_result());
  out->set_present(answer.present);
  if (answer.lease) ToProto(*answer.lease, out->mutable_lease());
  if (answer.holder) ToProto(*answer.holder, out->mutable_holder());
  if (answer.workflow) ToProto(*answer.workflow, out->mutable_workflow());
  if (answer.outcome == Outcome::kGranted && !answer.missing.empty()) {
    ToProto(answer.missing, out->mutable_missing());
  }
}

void ToProto(const WaitEvent& event, v1::AwaitResponse* out) {
  using Kind = WaitEvent::Kind;
  out->set_key(std::string(event.key.view()));
  switch (event.kind) {
    case Kind::kAttached:
      out->set_event(v1::AWAIT_ATTACHED);
      break;
    case Kind::kOpen:
      out->set_event(v1::AWAIT_OPEN);
      break;
    case Kind::kResult:
      out->set_event(v1::AWAIT_RESULT);
      break;
    case Kind::kFailed:
      out->set_event(v1::AWAIT_FAILED);
      break;
    case Kind::kGranted:
      out->set_event(v1::AWAIT_GRANTED);
      break;
    case Kind::kError:
      out->set_event(v1::AWAIT_ERROR);
      ToProto(event.error, out->mutable_status());
      break;
  }
  if (event.result) ToProto(*event.result, out->mutable_result());
  if (event.holder) ToProto(*event.holder, out->mutable_holder());
  if (event.lease) ToProto(*event.lease, out->mutable_lease());
  if (event.workflow) ToProto(*event.workflow, out->mutable_workflow());
}

absl::Status CheckBatch(size_t n, const Limits& limits, std::string_view what) {
  if (n <= limits.max_batch) return absl::OkStatus();
  return absl::InvalidArgumentError(
      StrCat(what, ": ", n, " items, the limit is ", limits.max_batch));
}

}  // namespace tiffin::server
