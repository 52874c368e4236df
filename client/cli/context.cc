#include "client/cli/context.h"

#include <utility>

#include "absl/strings/cord.h"
#include "client/repeat.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

constexpr char kWrongUsePayload[] = "tiffin.cli/wrong-use";

}  // namespace

std::shared_ptr<Connection> Context::connection() {
  if (connection_ == nullptr) {
    ConnectionOptions options;
    options.server = globals.server;
    connection_ = environment_.connect(options);
  }
  return connection_;
}

Client Context::MakeClient(ClientOptions options, absl::Duration patience_by_default) {
  if (options.name_space.empty()) options.name_space = globals.name_space;
  if (options.session.name.empty()) options.session.name = "tiffin";
  options.retry.patience = patience(patience_by_default);
  return Client(connection(), std::move(options));
}

v1::Caller Context::caller() const {
  v1::Caller caller;
  caller.set_namespace_(globals.name_space);
  return caller;
}

absl::Status Context::Persist(const std::function<absl::Status()>& call) const {
  const RetryOptions options{.patience = patience(absl::Seconds(5)), .max_delay = absl::Seconds(1)};
  return Repeat(options, absl::InfiniteFuture(), [&](bool*) { return call(); });
}

absl::Status WrongUse(std::string_view message) {
  absl::Status status = absl::InvalidArgumentError(ToAbsl(message));
  status.SetPayload(kWrongUsePayload, absl::Cord());
  return status;
}

int ExitCodeOf(const absl::Status& status) {
  if (status.ok()) return kDone;
  if (status.GetPayload(kWrongUsePayload).has_value()) return kWrongUse;
  switch (status.code()) {
    case absl::StatusCode::kNotFound:
      return kMiss;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:
      return kUnreachable;
    default:
      return kRefused;
  }
}

std::string ErrorLine(const absl::Status& status) {
  if (status.GetPayload(kWrongUsePayload).has_value()) {
    return StrCat("tiffin: ", status.message());
  }
  return StrCat("tiffin: ", absl::StatusCodeToString(status.code()), ": ", status.message());
}

}  // namespace tiffin::cli
