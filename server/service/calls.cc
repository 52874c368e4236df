#include "server/service/calls.h"

#include <string_view>

#include "absl/strings/escaping.h"
#include "google/protobuf/any.pb.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"

namespace tiffin::server {
namespace {

// Clients choose these texts: nothing in them may look like another member or line.
std::string Quoted(const std::string& text) {
  return "\"" + absl::CHexEscape(text.substr(0, 300)) + "\"";
}

// A length-delimited field of protobuf's wire format.
void AppendField(int number, const std::string& bytes, std::string* out) {
  google::protobuf::io::StringOutputStream stream(out);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.WriteTag(static_cast<uint32_t>(number << 3 | 2));
  coded.WriteVarint32(static_cast<uint32_t>(bytes.size()));
  coded.WriteString(bytes);
}

}  // namespace

grpc::Status TooMuchInFlight() {
  constexpr char kMessage[] = "too many bytes are in flight: try again soon";
  google::protobuf::Duration delay;
  delay.set_nanos(200'000'000);
  std::string retry, status = "\x08\x08";             // google.rpc.Status.code = RESOURCE_EXHAUSTED
  AppendField(1, delay.SerializeAsString(), &retry);  // google.rpc.RetryInfo.retry_delay
  google::protobuf::Any any;
  any.set_type_url("type.googleapis.com/google.rpc.RetryInfo");
  any.set_value(retry);
  AppendField(2, kMessage, &status);
  AppendField(3, any.SerializeAsString(), &status);
  return grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, kMessage, status);
}

void Calls::Log(const char* name, const v1::Caller& caller, const grpc::Status& status,
                absl::Duration took) {
  meter_.Count(name, status.error_code(), took);
  const bool ours = status.error_code() == grpc::StatusCode::INTERNAL ||
                    status.error_code() == grpc::StatusCode::DATA_LOSS ||
                    status.error_code() == grpc::StatusCode::UNKNOWN;
  const auto level = ours ? spdlog::level::err : spdlog::level::debug;
  if (!spdlog::should_log(level)) return;
  spdlog::log(level, "event=call rpc={} namespace={} session={} request={} code={} us={}{}", name,
              Quoted(caller.namespace_()), Quoted(caller.session().id()),
              Quoted(caller.request_id()), CodeName(status.error_code()),
              absl::ToInt64Microseconds(took),
              status.ok() ? "" : " message=" + Quoted(status.error_message()));
}

}  // namespace tiffin::server
