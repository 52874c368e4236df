// Waiters: how soon they hear, and a storm of them.
#include <atomic>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "tests/bench/harness.h"
#include "tests/bench/rpc.h"

namespace tiffin::bench {
namespace {

using Clock = std::chrono::steady_clock;

TIFFIN_BENCH(await_wake) {
  constexpr size_t kWaiters = 1000;
  constexpr auto kPause = std::chrono::microseconds(2000);  // 500 stores a second
  const Folder folder;
  const auto server = ServerProcess::Tiffin(folder.path() / "data");
  const auto stub = server->Stub(), waiting = server->Stub();
  const std::vector<v1::SubmitResponse> jobs = Grants(*stub, 0, kWaiters);
  std::unordered_map<std::string, size_t> places;
  v1::AwaitRequest request;
  for (size_t i = 0; i < kWaiters; ++i) {
    places[jobs[i].key()] = i;
    request.add_items()->mutable_job()->set_key(jobs[i].key());
  }
  grpc::ClientContext context;
  auto stream = waiting->Await(&context);
  stream->Write(request);
  stream->WritesDone();
  std::vector<Clock::time_point> stored(kWaiters), heard(kWaiters);
  std::atomic<size_t> attached{0};
  std::thread listener([&] {
    v1::AwaitResponse response;
    while (stream->Read(&response)) {
      if (response.event() == v1::AWAIT_ATTACHED) ++attached;
      if (response.event() == v1::AWAIT_RESULT) heard[places.at(response.key())] = Clock::now();
    }
  });
  while (attached < kWaiters) std::this_thread::yield();
  auto next = Clock::now();
  for (size_t i = 0; i < kWaiters; ++i) {
    std::this_thread::sleep_until(next += kPause);
    grpc::ClientContext call;
    v1::StoreResultRequest store;
    v1::StoreResultResponse response;
    store.set_key(jobs[i].key());
    store.set_lease(jobs[i].lease().id());
    store.set_epoch(jobs[i].lease().epoch());
    store.mutable_record()->set_json("1");
    Check(stub->StoreResult(&call, store, &response));
    stored[i] = Clock::now();
  }
  listener.join();
  Check(stream->Finish());
  std::vector<double> late;
  for (size_t i = 0; i < kWaiters; ++i) {
    late.push_back(std::max(0.0, std::chrono::duration<double>(heard[i] - stored[i]).count() * 1e3));
  }
  Report({.name = "await_wake", .value = Percentile(late, 0.99), .unit = "ms", .bar = 5,
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
