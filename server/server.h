// The whole server: backends, store, services, in the order they depend on each other.
#ifndef TIFFIN_SERVER_SERVER_H_
#define TIFFIN_SERVER_SERVER_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/config.h"

namespace tiffin::server {

class Server {
 public:
  // Opens the data and listens. The address is that of Config, with the port that was taken.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Config& config);
  virtual ~Server() = default;

  virtual const std::string& address() const = 0;
  // Health says NOT_SERVING, new calls and open streams end with UNAVAILABLE, running calls finish,
  // open packs are sealed; all within 8 s.
  virtual void Drain() = 0;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVER_H_
