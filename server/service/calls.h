// How every rpc is run: refused while draining, done on an executor, logged in one line.
#ifndef TIFFIN_SERVER_SERVICE_CALLS_H_
#define TIFFIN_SERVER_SERVICE_CALLS_H_

#include <grpcpp/grpcpp.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "server/service/answered_calls.h"
#include "server/service/byte_budget.h"
#include "server/service/call_meter.h"
#include "server/service/counted_messages.h"
#include "server/service/executor.h"
#include "server/service/open_stream.h"
#include "server/service/tree_bytes.h"
#include "tiffin/v1/common.pb.h"
#include "tiffin/v1/jobs.pb.h"

namespace tiffin::server {

inline grpc::Status DrainingStatus() {
  return grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is stopping");
}

// RESOURCE_EXHAUSTED with google.rpc.RetryInfo: too many bytes are in flight, which passes.
grpc::Status TooMuchInFlight();

struct CallLimits {
  uint64_t max_memory = uint64_t{512} << 20;  // bytes of all calls in flight
  uint64_t stream_bytes = uint64_t{4} << 20;  // of one upload: read, not yet written
  // For so long a client may let memory lie that others are refused for want of.
  std::chrono::milliseconds idle = std::chrono::seconds(15);
};

// Threads: all methods may be called from any thread.
class Calls {
 public:
  // Reads never queue behind writes, nor pushes behind uploads: they have threads of their own.
  explicit Calls(const CallLimits& limits = {})
      : stream_bytes_(limits.stream_bytes),
        upload_bytes_(std::min(3 * limits.stream_bytes,
                               std::max(limits.stream_bytes, limits.max_memory / 4))),
        idle_time_(limits.idle),
        memory_(limits.max_memory, [this] { MakeRoom(); }),
        small_calls_(limits.max_memory / 8, [this] { MakeRoom(); }),
        reads_(8),
        writes_(64),
        streams_(16),
        uploads_(16),
        answers_(4),
        chores_(4) {}

  Executor& reads() { return reads_; }
  Executor& writes() { return writes_; }
  Executor& streams() { return streams_; }  // what goes out
  Executor& uploads() { return uploads_; }
  Executor& answers() { return answers_; }  // of what became durable; nothing blocks here
  Executor& chores() { return chores_; }    // what an operator asks for, which may take long
  ByteBudget& memory() { return memory_; }
  uint64_t bytes_in_flight() const { return memory_.used() + small_calls_.used(); }
  uint64_t stream_bytes() const { return stream_bytes_; }
  // What an upload counts as: with what gRPC reads ahead, which is twice as much (Server sets the
  // window); at most a quarter of all, or what it takes itself.
  uint64_t upload_bytes() const { return upload_bytes_; }
  bool draining() const { return draining_; }

  // New calls and open streams end with UNAVAILABLE from now on.
  void Drain() {
    std::set<std::shared_ptr<OpenStream>> open;
    {
      std::lock_guard lock(mutex_);
      draining_ = true;
      open.swap(open_);
    }
    for (const auto& stream : open) stream->Drain();
  }
  // False: draining, the stream must end at once.
  bool Add(std::shared_ptr<OpenStream> stream) {
    std::lock_guard lock(mutex_);
    if (draining_) return false;
    open_.insert(std::move(stream));
    ++running_;
    return true;
  }
  // Of a stream for which Add gave true.
  void Remove(const std::shared_ptr<OpenStream>& stream) {
    std::lock_guard lock(mutex_);
    open_.erase(stream);
    EndLocked();
  }

  // Ends streams that hold memory and whose clients have done nothing for long, and calls whose
  // answers nobody reads.
  void MakeRoom() {
    if (making_room_.exchange(true)) return;
    chores_.Add([this] {
      std::vector<std::shared_ptr<OpenStream>> idle;
      {
        std::lock_guard lock(mutex_);
        const auto before = std::chrono::steady_clock::now() - idle_time_;
        for (const auto& stream : open_) {
          if (stream->touched() < before) idle.push_back(stream);
        }
      }
      for (const auto& stream : idle) stream->MakeRoom();
      answered_.CancelOlder(std::chrono::steady_clock::now() - idle_time_);
      making_room_ = false;
    });
  }

  // Waits until no call and no stream is running. False: it took longer.
  bool WaitUntilIdle(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    return idle_.wait_for(lock, limit, [this] { return running_ == 0; });
  }

  // Ends a call with its status, once, from any thread. Writes to the connection, which takes a
  // while.
  using Finish = std::function<void(const grpc::Status&)>;

  // Of a method whose messages are counted (CountMessages): runs `work` on `executor` and finishes
  // the call with what it returns.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context, const char* name,
                                  const Request* request, Response* response, Executor& executor,
                                  std::function<grpc::Status()> work) {
    return UnaryLater(context, name, request, response, &executor,
                      [work = std::move(work)](const Finish& finish) { finish(work()); });
  }

  // The same where `work` finishes the call itself, maybe after it returned. Without an executor it
  // runs on gRPC's thread and must not block.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* UnaryLater(grpc::CallbackServerContext* context, const char* name,
                                       const Request* request, Response* response,
                                       Executor* executor, std::function<void(Finish)> work) {
    grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
    CountedCall* const counted = CountedCallOf<Request, Response>(context);
    if (!Begin()) {
      reactor->Finish(DrainingStatus());
      return reactor;
    }
    const absl::Time start = absl::Now();
    // Counted while it waits for a thread, too, and until the answer is with the client.
    counted->share = ShareOf(*request);
    const auto begin = [=, this, work = std::move(work)] {
      Finish finish = [=, this](const grpc::Status& status) {
        End(context, reactor, counted, name, *request, response, status, start);
      };
      if (context->IsCancelled()) return finish(grpc::Status::CANCELLED);
      if (!counted->share) return finish(TooMuchInFlight());
      work(std::move(finish));
    };
    if (executor == nullptr || !counted->share) {
      begin();
    } else {
      executor->Add(begin);
    }
    return reactor;
  }

  // Counts a call that ended, and logs it in one line: what, for whom, how it ended, how long it
  // took.
  void Log(const char* name, const v1::Caller& caller, const grpc::Status& status,
           absl::Duration took);
  const CallMeter& meter() const { return meter_; }

 private:
  bool Begin() {
    std::lock_guard lock(mutex_);
    if (draining_) return false;
    ++running_;
    return true;
  }
  void EndLocked() {
    if (--running_ == 0) idle_.notify_all();
  }
  template <typename Request, typename Response>
  void End(grpc::CallbackServerContext* context, grpc::ServerUnaryReactor* reactor,
           CountedCall* counted, const char* name, const Request& request, Response* response,
           grpc::Status status, absl::Time start) {
    // As a message, and as the bytes that wait for a client to read them.
    const size_t bytes = status.ok() ? response->ByteSizeLong() : 0;
    if (bytes >= kCounted) {
      // Anew, as one: a call that is alone always gets what it takes.
      const uint64_t of_request = counted->share.bytes(), all = of_request + 2 * bytes;
      counted->share = {};
      counted->share = memory_.Take(all);
      if (!counted->share && HasActed(*response)) counted->share = memory_.Charge(all);
      if (!counted->share) {
        status = TooMuchInFlight();
        Response().Swap(response);
        counted->share = memory_.Charge(of_request);
      }
    } else if (bytes >= kCountedAnswer) {
      counted->answer = small_calls_.Take(2 * bytes);
      if (!counted->answer && HasActed(*response)) counted->answer = small_calls_.Charge(2 * bytes);
      if (!counted->answer) {
        status = TooMuchInFlight();
        Response().Swap(response);
      }
    }
    Log(name, request.caller(), status, absl::Now() - start);
    // Those that others may come to need the room of; the first of the small ones leave half of
    // theirs.
    if (bytes >= kCounted || small_calls_.used() > small_calls_.limit() / 2)
      answered_.Add(context, &counted->place);
    reactor->Finish(status);  // all of the call may be gone from here on
    std::lock_guard lock(mutex_);
    EndLocked();
  }
  // Whether a call has done what asking again would not answer: such an answer is sent whatever it
  // takes.
  template <typename Response>
  static bool HasActed(const Response&) {
    return false;
  }
  static bool HasActed(const v1::SubmitResponse& response) {
    return response.outcome() == v1::GRANTED;
  }
  static bool HasActed(const v1::StoreResultResponse&) { return true; }
  static bool HasActed(const v1::InvalidateResponse&) { return true; }
  // Small calls have a room of their own, so that large ones do not keep leases from being renewed;
  // of the others the parsed trees count, too.
  template <typename Request>
  ByteBudget::Share ShareOf(const Request& request) {
    const size_t bytes = request.ByteSizeLong();
    if (bytes < kCounted) return small_calls_.Take(kCallBytes + bytes);
    // What cannot fit is refused before it is looked at.
    if (!memory_.Take((kTextCopies + 1) * bytes)) return ByteBudget::Share();
    return memory_.Take(WorkingBytes(request, bytes));
  }

  static constexpr size_t kCounted = 64 << 10;
  static constexpr size_t kCountedAnswer = 1 << 10;  // smaller ones are part of the next
  static constexpr size_t kCallBytes = 4 << 10;      // what gRPC and this keep of a call, about

  const uint64_t stream_bytes_, upload_bytes_;
  const std::chrono::milliseconds idle_time_;
  std::atomic<bool> making_room_{false};
  ByteBudget memory_, small_calls_;
  AnsweredCalls answered_;
  CallMeter meter_;
  std::mutex mutex_;  // guards what follows, and the change of draining_
  std::condition_variable idle_;
  int running_ = 0;
  std::set<std::shared_ptr<OpenStream>> open_;
  std::atomic<bool> draining_{false};
  Executor reads_, writes_, streams_, uploads_, answers_, chores_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_CALLS_H_
