// A job store on backends in memory and a clock that the test moves.
#ifndef TIFFIN_TESTS_UNIT_STORE_STORE_FIXTURE_H_
#define TIFFIN_TESTS_UNIT_STORE_STORE_FIXTURE_H_

#include <gtest/gtest.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "common/strings.h"
#include "server/blobs/memory_blob_store.h"
#include "server/jobs/memory_job_database.h"
#include "server/store/job_history.h"
#include "server/store/job_store.h"
#include "tests/support/manual_clock.h"
#include "tests/support/store_calls.h"

namespace tiffin::server {

// What one Await stream is told, in order.
class Ear {
 public:
  void Tell(WaitEvent event) {
    std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    ready_.notify_all();
  }
  WaitEvent Next() {
    std::unique_lock lock(mutex_);
    ready_.wait(lock, [this] { return !events_.empty(); });
    WaitEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
  }
  // The next event that ends the wait.
  WaitEvent End() {
    while (true) {
      WaitEvent event = Next();
      if (event.kind != WaitEvent::Kind::kAttached && event.kind != WaitEvent::Kind::kOpen)
        return event;
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<WaitEvent> events_;
};

class StoreFixture : public testing::Test {
 protected:
  StoreFixture()
      : database_(MakeMemoryJobDatabase()),
        bytes_(MakeMemoryBlobStore()),
        blobs_(database_.get(), bytes_.get(), &clock_),
        store_(database_.get(), &blobs_, &clock_, {}),
        history_(database_.get(), &store_) {
    EXPECT_TRUE(blobs_.Start().ok());
    EXPECT_TRUE(store_.Start().ok());
  }
  ~StoreFixture() override {
    store_.Stop();
    blobs_.Stop();
    database_->Close();
  }

  static CallerInfo Caller(const std::string& host) {
    CallerInfo caller;
    caller.session.token = "session-" + host;
    caller.session.host = host;
    return caller;
  }
  static std::string Job(int n) { return StrCat(R"({"function": "f", "arguments": [)", n, "]}"); }
  static std::string Workflow(int n) {
    return StrCat(R"({"_noodles": "0.3.0", "type": "<object>", "class": )",
                  R"("noodles.workflow.model.Workflow", "data": {"root": )", n,
                  R"(, "nodes": [], "links": []}})");
  }
  SubmitAnswer Submit(const std::string& host, const std::string& job) {
    auto answer = SubmitAndWait(store_, Caller(host), job, {.can_compute = true});
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.ok() ? *answer : SubmitAnswer();
  }
  absl::Status Store(const SubmitAnswer& answer, const std::string& record,
                     std::optional<ResultKind> kind = std::nullopt) {
    StoreRequest request;
    request.key = answer.key;
    request.lease_id = answer.lease->lease_id;
    request.epoch = answer.lease->epoch;
    request.record = record;
    request.kind = kind;
    StoreAnswer stored;
    return StoreAndWait(store_, Caller("a"), request, &stored);
  }
  // Submitted and stored.
  Digest Done(const std::string& job, const std::string& record = "1") {
    const SubmitAnswer answer = Submit("a", job);
    EXPECT_TRUE(Store(answer, record).ok());
    return answer.key;
  }
  std::shared_ptr<Ear> Await(const Digest& key, uint64_t capacity, int64_t after_epoch = 0) {
    auto ear = std::make_shared<Ear>();
    AwaitSession session;
    session.can_compute = capacity > 0;
    session.term = absl::Seconds(30);
    session.caller = Caller("waiter");
    session.tell = [ear](uint64_t, WaitEvent event) { ear->Tell(std::move(event)); };
    const auto id = store_.OpenAwait(std::move(session));
    store_.AddCapacity(id, capacity);
    store_.Await(id, Caller("waiter"), {{0, key, after_epoch}});
    return ear;
  }
  RowId RowOf(const Digest& key) {
    RowId id = 0;
    EXPECT_TRUE(database_
                    ->Read([&](JobReader& reader) -> absl::Status {
                      id = (*reader.FindJob(*reader.FindNamespace("default"), key))->id;
                      return absl::OkStatus();
                    })
                    .ok());
    return id;
  }

  ManualClock clock_;
  std::unique_ptr<JobDatabase> database_;
  std::unique_ptr<BlobStore> bytes_;
  BlobCatalogue blobs_;
  JobStore store_;
  JobHistory history_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_TESTS_UNIT_STORE_STORE_FIXTURE_H_
