#include "server/service/calls.h"

#include <string_view>

#include "absl/strings/escaping.h"

namespace tiffin::server {
namespace {

// Clients choose these texts: nothing in them may look like another member or line.
std::string Quoted(const std::string& text) {
  return "\"" + absl::CHexEscape(text.substr(0, 300)) + "\"";
}

std::string_view CodeName(grpc::StatusCode code) {
  static constexpr std::string_view kNames[] = {
      "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
      "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
      "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
      "UNAUTHENTICATED"};
  return code >= 0 && code < static_cast<int>(std::size(kNames)) ? kNames[code] : "UNKNOWN";
}

}  // namespace

void Calls::Log(const char* name, const v1::Caller& caller, const grpc::Status& status,
                absl::Duration took) {
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
