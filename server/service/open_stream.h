// Streams as others see them that want them to end.
#ifndef TIFFIN_SERVER_SERVICE_OPEN_STREAM_H_
#define TIFFIN_SERVER_SERVICE_OPEN_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <chrono>
#include <mutex>

namespace tiffin::server {

// A stream that a drain ends, or that others need the memory of. All methods may be called from any
// thread.
class OpenStream {
 public:
  virtual ~OpenStream() = default;
  // Ends the stream with UNAVAILABLE.
  virtual void Drain() = 0;
  // Ends it if it holds memory for a client that it waits for.
  virtual void MakeRoom() {}

  // Something came from the client, or went to it.
  void Touch() { touched_ = std::chrono::steady_clock::now(); }
  std::chrono::steady_clock::time_point touched() const { return touched_; }

 private:
  std::atomic<std::chrono::steady_clock::time_point> touched_{std::chrono::steady_clock::now()};
};

// The context of a call, to cancel it from any thread while it lives.
class Cancellable {
 public:
  explicit Cancellable(grpc::CallbackServerContext* context) : context_(context) {}
  void Cancel() {
    std::lock_guard lock(mutex_);
    if (context_ != nullptr) context_->TryCancel();
  }
  // The call is done.
  void Forget() {
    std::lock_guard lock(mutex_);
    context_ = nullptr;
  }

 private:
  std::recursive_mutex mutex_;  // gRPC may end the call from within
  grpc::CallbackServerContext* context_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_OPEN_STREAM_H_
