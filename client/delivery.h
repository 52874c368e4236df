// Delivers what waits in the spool. Private to the library.
#ifndef TIFFIN_CLIENT_DELIVERY_H_
#define TIFFIN_CLIENT_DELIVERY_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/time/time.h"
#include "client/spool.h"

namespace tiffin {

// Tries again and again, on a thread of its own that starts with the first Begin, until nothing
// waits or the object is destroyed, which waits for a call that is under way. Threads: all methods
// may be called from any thread.
class Delivery {
 public:
  // Tries every `period`; never if it is infinite.
  Delivery(std::shared_ptr<Connection> connection, std::string folder, absl::Duration period);
  ~Delivery();
  Delivery(const Delivery&) = delete;
  Delivery& operator=(const Delivery&) = delete;

  // Something was added.
  void Begin();

 private:
  void Loop();

  const std::shared_ptr<Connection> connection_;
  Spool spool_;
  const absl::Duration period_;
  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  bool waiting_ = false;  // something is to be delivered
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_DELIVERY_H_
