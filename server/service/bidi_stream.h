// What the bidirectional streams share: one read and one write at a time, answers made as the
// client reads them, one end. They take and give gRPC's buffers: a message is parsed and printed
// off gRPC's own threads, and bytes that are no message are told from an end.
#ifndef TIFFIN_SERVER_SERVICE_BIDI_STREAM_H_
#define TIFFIN_SERVER_SERVICE_BIDI_STREAM_H_

#include <grpcpp/grpcpp.h>

#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "common/status.h"
#include "server/service/calls.h"
#include "server/service/convert.h"
#include "server/service/raw_messages.h"

namespace tiffin::server {

using RawBidiReactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

// Holds itself alive until gRPC is done with it and no task refers to it.
template <typename Request, typename Response>
class BidiStream : public RawBidiReactor,
                   public OpenStream,
                   public std::enable_shared_from_this<BidiStream<Request, Response>> {
 public:
  // What blocks runs on `executor`, one task of a stream at a time.
  BidiStream(Calls* calls, const char* name, Executor* executor)
      : calls_(calls), name_(name), executor_(executor) {}

  void Begin(grpc::CallbackServerContext* context) {
    call_.emplace(context);
    self_ = this->shared_from_this();
    added_ = true;  // before a drain can end it
    if (!calls_->Add(self_)) {
      added_ = false;
      End(DrainingStatus());
      return;
    }
    StartRead(&message_);
  }

  void Drain() override { End(DrainingStatus()); }
  // An answer that the client does not read can only be cancelled.
  void MakeRoom() override {
    {
      std::lock_guard lock(mutex_);
      if (!writing_) return;
    }
    call_->Cancel();
  }
  void OnCancel() override { End(grpc::Status::CANCELLED); }

  void OnReadDone(bool ok) override {
    {
      std::lock_guard lock(mutex_);
      if (ended_) return;  // it may have finished: nothing of gRPC's may be touched
      if (ok) ++holds_;
    }
    if (!ok) {
      HalfClosed();
      return;
    }
    executor_->Add([self = this->shared_from_this(), this] {
      TakeMessage();
      WriteMore();
    });
  }

  void OnWriteDone(bool ok) override {
    this->Touch();
    std::unique_lock lock(mutex_);
    writing_ = false;
    if (!ok && !ended_) ended_ = grpc::Status::CANCELLED;
    if (paused_ && !ended_ && queue_.size() < kUnread) {
      paused_ = false;
      ++holds_;
      executor_->Add([self = this->shared_from_this(), this] { WriteMore(); });
    }
    current_share_ = {};
    Read(lock);
    Next(lock);
    lock.unlock();
    Written();
  }

  void OnDone() override {
    call_->Forget();
    Closed();
    if (added_) calls_->Remove(self_);
    calls_->Log(name_, told_caller_, *ended_, absl::Now() - start_);
    self_.reset();  // may delete this
  }

 protected:
  // The first message has come: what it says for the whole stream, beside the caller.
  virtual absl::Status Open(const Request&) { return absl::OkStatus(); }
  // A message has come, to be used up; the next is read when this returns OK and Produce has
  // nothing more.
  virtual absl::Status Take(Request& request) = 0;
  // Writes a next answer to the messages taken; false: there was none left. Called as the client
  // reads.
  virtual bool Produce() { return false; }
  // Bytes that a message takes while it is worked on.
  virtual size_t CostOf(const Request& request, size_t message_bytes) const {
    return WorkingBytes(request, message_bytes);
  }
  // Nothing more will come.
  virtual void HalfClosed() { End(grpc::Status::OK); }
  virtual void Closed() {}
  // The client has taken an answer.
  virtual void Written() {}
  // Answers enough wait for the client to read them: more are better kept back.
  bool Full() {
    std::lock_guard lock(mutex_);
    return !ended_ && queue_.size() >= kUnread;
  }
  const CallerInfo& caller() const { return caller_; }

  // Its bytes count until the client has taken them: in `share`, if it was taken before the answer
  // was made.
  void Write(const Response& response, ByteBudget::Share share = {}) {
    Unsent answer;
    grpc::Status status = WriteMessage(response, &answer.buffer);
    if (!status.ok()) return End(std::move(status));
    const size_t bytes = answer.buffer.Length();
    answer.share = share ? std::move(share) : calls_->memory().Take(bytes < kCounted ? 0 : bytes);
    if (!answer.share) return End(TooMuchInFlight());
    std::unique_lock lock(mutex_);
    if (ended_ && !ended_->ok()) return;  // nobody reads it any more
    queue_.push_back(std::move(answer));
    Next(lock);
  }
  // Ends the stream: at once if with an error, else after what is queued.
  void End(grpc::Status status) {
    std::unique_lock lock(mutex_);
    if (!ended_) ended_ = std::move(status);
    Next(lock);
  }
  // Nobody hears what is answered now. Any thread.
  bool ended() {
    std::lock_guard lock(mutex_);
    return ended_.has_value();
  }
  Calls* const calls_;

 private:
  void TakeMessage() {
    if (ended()) return;  // nobody would hear of what it does
    const size_t bytes = message_.Length();
    share_ = calls_->memory().Take(bytes < kCounted ? 0 : bytes);  // as it came
    if (!share_) return End(TooMuchInFlight());
    Request request;
    if (!ReadMessage(std::exchange(message_, grpc::ByteBuffer()), &request).ok()) {
      return End(
          {grpc::StatusCode::INVALID_ARGUMENT,
           StrCat("message ", number_, " of the stream is no ", Request::descriptor()->name())});
    }
    if (bytes >= kCounted) {
      share_ = {};
      share_ = calls_->memory().Take(CostOf(request, bytes));
      if (!share_) return End(TooMuchInFlight());
    }
    const absl::Status status = [&]() -> absl::Status {
      if (number_++ == 0) {
        told_caller_ = request.caller();
        TIFFIN_ASSIGN_OR_RETURN(caller_, FromProto(request.caller()));
        TIFFIN_RETURN_IF_ERROR(Open(request));
      }
      return Take(request);
    }();
    if (!status.ok()) End(ToGrpc(status));
  }

  // The end of a task: with a hold, which is given up.
  void WriteMore() {
    std::unique_lock lock(mutex_);
    bool more = true;
    while (more && !ended_ && queue_.size() < kUnread) {
      lock.unlock();
      more = Produce();
      lock.lock();
    }
    paused_ = more;
    read_due_ = !more;
    if (!more || ended_) share_ = {};
    --holds_;
    Read(lock);
    Next(lock);
  }

  // Reads the next message, once the client has taken most of the answers. While held, the stream
  // does not finish: after that gRPC may forget it at any time, and a read must not be started any
  // more.
  void Read(std::unique_lock<std::mutex>& lock) {
    if (!read_due_ || ended_ || queue_.size() >= kUnread) return;
    read_due_ = false;
    ++holds_;
    lock.unlock();  // gRPC may call back from within
    StartRead(&message_);
    lock.lock();
    --holds_;
  }

  void Next(std::unique_lock<std::mutex>& lock) {
    if (writing_ || finished_) return;
    if (ended_ && holds_ > 0 && (!ended_->ok() || queue_.empty())) return;
    if (ended_ && (!ended_->ok() || queue_.empty())) {
      finished_ = true;
      const grpc::Status status = *ended_;
      const auto self = this->shared_from_this();  // OnDone may come before Finish returns
      lock.unlock();
      Finish(status);
      lock.lock();
      return;
    }
    if (queue_.empty()) return;
    writing_ = true;
    this->Touch();
    current_ = std::move(queue_.front().buffer);
    current_share_ = std::move(queue_.front().share);
    queue_.pop_front();
    lock.unlock();
    StartWrite(&current_);
    lock.lock();
  }

  static constexpr size_t kUnread = 4;  // answers that wait for the client to read them
  static constexpr size_t kCounted = 64 << 10;

  const char* const name_;
  Executor* const executor_;
  const absl::Time start_ = absl::Now();
  std::optional<Cancellable> call_;
  std::shared_ptr<BidiStream> self_;
  bool added_ = false;
  grpc::ByteBuffer message_;
  // Touched by the stream's one task.
  uint64_t number_ = 0;      // of the message in hand
  ByteBudget::Share share_;  // of that message
  v1::Caller told_caller_;
  CallerInfo caller_;
  std::mutex mutex_;  // guards all below
  struct Unsent {
    grpc::ByteBuffer buffer;
    ByteBudget::Share share;
  };
  std::deque<Unsent> queue_;
  grpc::ByteBuffer current_;
  ByteBudget::Share current_share_;
  bool writing_ = false, finished_ = false;
  bool read_due_ = false;  // all answers to the last message are made
  bool paused_ = false;    // answers are left, the client has to read first
  int holds_ = 0;
  std::optional<grpc::Status> ended_;
};

// Items of answers, gathered into messages of about 1 MiB: more only by the last item.
template <typename Response>
class MessageOfItems {
 public:
  auto* Add() { return response_.add_items(); }
  // After an item was filled. True: the message is due.
  bool Full() {
    bytes_ += response_.items(response_.items_size() - 1).ByteSizeLong();
    return bytes_ >= kMessageBytes;
  }
  bool empty() const { return response_.items_size() == 0; }
  Response Move() {
    bytes_ = 0;
    return std::exchange(response_, Response());
  }

 private:
  static constexpr size_t kMessageBytes = 1 << 20;
  Response response_;
  size_t bytes_ = 0;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_BIDI_STREAM_H_
