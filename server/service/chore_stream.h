// A call of an operator that takes long and tells how far it is: a stream of messages out, written
// by one task that may block.
#ifndef TIFFIN_SERVER_SERVICE_CHORE_STREAM_H_
#define TIFFIN_SERVER_SERVICE_CHORE_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "server/service/calls.h"
#include "server/service/convert.h"

namespace tiffin::server {

// Runs `work` on the executor for chores and finishes the call with what it returns. Holds itself
// alive.
template <typename Response>
class ChoreStream : public grpc::ServerWriteReactor<Response>,
                    public OpenStream,
                    public std::enable_shared_from_this<ChoreStream<Response>> {
 public:
  // Sends a message; waits until the one before is on its way. False: nobody listens any more, or
  // the server is stopping: `work` should end. With `skippable` it does not wait: the message is
  // dropped if the one before is not on its way.
  using Send = std::function<bool(Response, bool skippable)>;
  using Work = std::function<absl::Status(const Send&)>;

  static grpc::ServerWriteReactor<Response>* Start(Calls* calls, const char* name,
                                                   const v1::Caller& caller, Work work) {
    auto stream = std::make_shared<ChoreStream>(calls, name, caller, std::move(work));
    stream->Begin();
    return stream.get();
  }
  ChoreStream(Calls* calls, const char* name, const v1::Caller& caller, Work work)
      : calls_(calls), name_(name), caller_(caller), work_(std::move(work)) {}

  void Drain() override { Stop(); }
  void OnCancel() override { Stop(); }
  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    if (!ok) stopped_ = true;
    written_.notify_all();
  }
  void OnDone() override {
    if (added_) calls_->Remove(self_);
    calls_->Log(name_, caller_, status_, absl::Now() - start_);
    self_.reset();  // may delete this
  }

 private:
  void Begin() {
    self_ = this->shared_from_this();
    added_ = true;  // before a drain can end it
    if (!calls_->Add(self_)) {
      added_ = false;
      return End(DrainingStatus());
    }
    calls_->chores().Add([self = self_, this] {
      const absl::Status status = work_([this](Response response, bool skippable) {
        return Write(std::move(response), skippable);
      });
      std::unique_lock lock(mutex_);
      written_.wait(lock, [this] { return !writing_; });
      const bool stopped = stopped_;
      lock.unlock();
      End(stopped && calls_->draining() ? DrainingStatus() : ToGrpc(status));
    });
  }
  bool Write(Response response, bool skippable) {
    std::unique_lock lock(mutex_);
    if (skippable && writing_) return !stopped_;
    // A write that waits for a slow reader ends when the call does.
    written_.wait(lock, [this] { return !writing_; });
    if (stopped_) return false;
    writing_ = true;
    message_ = std::move(response);
    lock.unlock();
    this->StartWrite(&message_);
    return true;
  }
  void Stop() {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  void End(grpc::Status status) {
    status_ = status;
    const auto self = self_;  // OnDone may come before Finish returns
    this->Finish(std::move(status));
  }

  Calls* const calls_;
  const char* const name_;
  const v1::Caller caller_;
  const Work work_;
  const absl::Time start_ = absl::Now();
  std::shared_ptr<ChoreStream> self_;
  bool added_ = false;
  grpc::Status status_;
  std::mutex mutex_;  // guards what is below
  std::condition_variable written_;
  bool writing_ = false, stopped_ = false;
  Response message_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_CHORE_STREAM_H_
