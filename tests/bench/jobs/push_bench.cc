// Waiters: how soon they hear, and a storm of them.
#include <atomic>
#include <deque>
#include <future>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "tests/bench/harness.h"
#include "tests/bench/rpc.h"

namespace tiffin::bench {
namespace {

using Clock = std::chrono::steady_clock;

// One stream that awaits one job.
class OneWaiter : public grpc::ClientBidiReactor<v1::AwaitRequest, v1::AwaitResponse> {
 public:
  OneWaiter(v1::Jobs::Stub& stub, const std::string& key, std::atomic<size_t>* attached)
      : attached_(attached) {
    request_.add_items()->mutable_job()->set_key(key);
    stub.async()->Await(&context_, this);
    StartWriteLast(&request_, {});
    StartRead(&response_);
    StartCall();
  }
  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (response_.event() == v1::AWAIT_ATTACHED) ++*attached_;
    if (response_.event() == v1::AWAIT_RESULT) heard_ = Clock::now();
    StartRead(&response_);
  }
  void OnDone(const grpc::Status& status) override { done_.set_value(status); }

  // When the result came. Waits until the stream is over.
  Clock::time_point Heard() {
    Check(done_.get_future().get());
    if (heard_ == Clock::time_point()) throw std::runtime_error("a waiter heard nothing");
    return heard_;
  }

 private:
  std::atomic<size_t>* const attached_;
  grpc::ClientContext context_;
  v1::AwaitRequest request_;
  v1::AwaitResponse response_;
  Clock::time_point heard_;
  std::promise<grpc::Status> done_;
};

// A result that is stored without waiting for the one before.
class OneStore {
 public:
  OneStore(v1::Jobs::Stub& stub, const v1::SubmitResponse& job) {
    request_.set_key(job.key());
    request_.set_lease(job.lease().id());
    request_.set_epoch(job.lease().epoch());
    request_.mutable_record()->set_json("1");
    stub.async()->StoreResult(&context_, &request_, &response_, [this](grpc::Status status) {
      stored_ = Clock::now();
      done_.set_value(std::move(status));
    });
  }
  Clock::time_point Stored() {
    Check(done_.get_future().get());
    return stored_;
  }

 private:
  grpc::ClientContext context_;
  v1::StoreResultRequest request_;
  v1::StoreResultResponse response_;
  Clock::time_point stored_;
  std::promise<grpc::Status> done_;
};

TIFFIN_BENCH(await_wake) {
  constexpr size_t kWaiters = 1000, kChannels = 20;
  constexpr auto kPause = std::chrono::microseconds(2000);  // 500 stores a second
  const Folder folder;
  const auto server = ServerProcess::Tiffin(folder.path() / "data");
  const auto stub = server->Stub();
  const std::vector<v1::SubmitResponse> jobs = Grants(*stub, 0, kWaiters);
  std::vector<std::unique_ptr<v1::Jobs::Stub>> stubs;
  for (size_t i = 0; i < kChannels; ++i) stubs.push_back(server->Stub());
  std::atomic<size_t> attached{0};
  std::deque<OneWaiter> waiters;
  for (size_t i = 0; i < kWaiters; ++i)
    waiters.emplace_back(*stubs[i % kChannels], jobs[i].key(), &attached);
  while (attached < kWaiters) std::this_thread::sleep_for(std::chrono::milliseconds(1));

  std::deque<OneStore> stores;
  const Clock::time_point begin = Clock::now();
  for (size_t i = 0; i < kWaiters; ++i) {
    std::this_thread::sleep_until(begin + i * kPause);
    stores.emplace_back(*stub, jobs[i]);
  }
  const double took = std::chrono::duration<double>(Clock::now() - begin).count();
  const double planned = std::chrono::duration<double>(kWaiters * kPause).count();
  if (took > 1.1 * planned) throw std::runtime_error("fewer than 450 stores a second were begun");
  std::vector<double> late;
  for (size_t i = 0; i < kWaiters; ++i) {
    const auto stored = stores[i].Stored();
    late.push_back(
        std::max(0.0, std::chrono::duration<double>(waiters[i].Heard() - stored).count() * 1e3));
  }
  Report({.name = "await_wake",
          .value = Percentile(late, 0.99),
          .unit = "ms",
          .bar = 5,
          .at_most = true});
}

TIFFIN_BENCH(storm) {
  const size_t channels = static_cast<size_t>(Setting("TIFFIN_BENCH_CHANNELS", 1000));
  const Folder folder;
  const auto server = ServerProcess::Tiffin(folder.path() / "data");
  std::vector<std::unique_ptr<v1::Jobs::Stub>> stubs;
  for (size_t i = 0; i < channels; ++i) stubs.push_back(server->Stub());
  std::vector<v1::SubmitResponse> answers(channels);
  std::atomic<size_t> executions{0}, pushed{0};
  const double seconds = SecondsOf([&] {
    CallsPerSecond(channels, channels, [&](size_t i, std::function<void()> done) {
      struct Call {
        grpc::ClientContext context;
        v1::SubmitRequest request;
      };
      auto call = std::make_shared<Call>();
      call->request.mutable_job()->set_json(JobJson(1));
      call->request.mutable_options()->set_can_compute(true);
      stubs[i]->async()->Submit(&call->context, &call->request, &answers[i],
                                [call, done = std::move(done)](const grpc::Status& status) {
                                  Check(status);
                                  done();
                                });
    });
    struct Waiter {
      grpc::ClientContext context;
      std::unique_ptr<grpc::ClientReaderWriter<v1::AwaitRequest, v1::AwaitResponse>> stream;
    };
    std::vector<Waiter> waiters(channels);
    size_t holder = 0;
    for (size_t i = 0; i < channels; ++i) {
      if (answers[i].outcome() == v1::GRANTED) {
        ++executions;
        holder = i;
        continue;
      }
      v1::AwaitRequest request;
      request.add_items()->mutable_job()->set_key(answers[i].key());
      waiters[i].stream = stubs[i]->Await(&waiters[i].context);
      waiters[i].stream->Write(request);
      waiters[i].stream->WritesDone();
    }
    grpc::ClientContext context;
    v1::StoreResultRequest store;
    v1::StoreResultResponse response;
    store.set_key(answers[holder].key());
    store.set_lease(answers[holder].lease().id());
    store.set_epoch(answers[holder].lease().epoch());
    store.mutable_record()->set_json("1");
    Check(stubs[holder]->StoreResult(&context, store, &response));
    for (Waiter& waiter : waiters) {
      v1::AwaitResponse event;
      while (waiter.stream && waiter.stream->Read(&event)) {
        pushed += event.event() == v1::AWAIT_RESULT;
      }
      if (waiter.stream) Check(waiter.stream->Finish());
    }
  });
  if (executions != 1 || pushed != channels - 1) Check({grpc::StatusCode::INTERNAL, "storm"});
  Report({.name = "storm", .value = seconds, .unit = "s", .bar = 2, .at_most = true});
}

}  // namespace
}  // namespace tiffin::bench
