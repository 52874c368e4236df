// How a client's calls go out. Private to the library.
#ifndef TIFFIN_CLIENT_ROUTE_H_
#define TIFFIN_CLIENT_ROUTE_H_

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/repeat.h"

namespace tiffin {

// A connection, how calls over it are repeated, and when they end. Never changed.
class Client::Route {
 public:
  Route(std::shared_ptr<Connection> connection, RetryOptions retry,
        absl::Time deadline = absl::InfiniteFuture())
      : connection_(std::move(connection)), retry_(retry), deadline_(deadline) {}

  // The same until then, or until this one's deadline if that is earlier.
  std::shared_ptr<const Route> Until(absl::Time deadline) const {
    deadline = std::min(deadline, deadline_);
    std::shared_ptr<Connection> connection = connection_->Until(deadline);
    if (connection == nullptr) connection = connection_;
    return std::make_shared<const Route>(std::move(connection), retry_, deadline);
  }

  Connection& connection() const { return *connection_; }
  absl::Time deadline() const { return deadline_; }

  absl::Status Repeat(const Try& call) const { return tiffin::Repeat(retry_, deadline_, call); }
  // Calls one rpc as often as the options say.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(absl::StatusOr<Response> (Connection::*rpc)(const Request&),
                                const Request& request) const {
    absl::StatusOr<Response> response;
    const absl::Status status = Repeat([&](bool*) {
      response = (connection_.get()->*rpc)(request);
      return response.status();
    });
    if (!status.ok()) return status;
    return response;
  }

 private:
  const std::shared_ptr<Connection> connection_;
  const RetryOptions retry_;
  const absl::Time deadline_;
};

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_ROUTE_H_
