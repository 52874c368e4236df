// Unary calls whose answers wait for their clients to read them.
#ifndef TIFFIN_SERVER_SERVICE_ANSWERED_CALLS_H_
#define TIFFIN_SERVER_SERVICE_ANSWERED_CALLS_H_

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <list>
#include <mutex>
#include <utility>

namespace tiffin::server {

// To end those that hold memory which others need. Threads: all methods may be called from any
// thread.
class AnsweredCalls {
 public:
  // A call's place among them. Its end takes the call out, before gRPC forgets it.
  class Place {
   public:
    Place() = default;
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    ~Place() {
      if (calls_ != nullptr) calls_->Remove(this);
    }

   private:
    friend class AnsweredCalls;
    AnsweredCalls* calls_ = nullptr;
    // Guarded by the calls' mutex; null: in no list.
    grpc::CallbackServerContext* context_ = nullptr;
    std::chrono::steady_clock::time_point since_;
    std::list<Place*>::iterator at_;
  };

  // The call is about to be answered. Once for each place.
  void Add(grpc::CallbackServerContext* context, Place* place) {
    std::lock_guard lock(mutex_);
    place->calls_ = this;
    place->context_ = context;
    place->since_ = std::chrono::steady_clock::now();
    place->at_ = waiting_.insert(waiting_.end(), place);
  }

  // Cancels those that were answered before `time`.
  void CancelOlder(std::chrono::steady_clock::time_point time) {
    std::lock_guard lock(mutex_);
    while (!waiting_.empty() && waiting_.front()->since_ < time) {
      Place* const place = waiting_.front();
      waiting_.pop_front();
      std::exchange(place->context_, nullptr)->TryCancel();  // may end the place from within
    }
  }

 private:
  void Remove(Place* place) {
    std::lock_guard lock(mutex_);
    if (place->context_ != nullptr) waiting_.erase(place->at_);
  }

  std::recursive_mutex mutex_;  // guards all below
  std::list<Place*> waiting_;   // in the order of their answers
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_ANSWERED_CALLS_H_
