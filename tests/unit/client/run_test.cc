// Run and RunAsync: the stored result, or somebody's, or our own.
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tests/unit/client/client_fixture.h"

namespace tiffin::testing {
namespace {

class RunTest : public ClientTest {
 protected:
  // Runs the job on a thread of its own: for those that wait.
  std::future<absl::StatusOr<Value>> RunBeside(Client& client, JobFunction function) {
    return std::async(std::launch::async, [&client, this, function = std::move(function)] {
      return client.Run(job_, function);
    });
  }
  void WaitUntilAwaited() {
    server_->WaitUntil([this] { return !server_->awaits().empty(); });
  }
  static absl::StatusOr<Value> NotCalled() {
    ADD_FAILURE() << "computed although it need not be";
    return Value();
  }

  const Value job_ = JobOf(1);
  const Digest key_ = KeyOf(job_);
};

TEST_F(RunTest, ComputesStoresAndReturnsTheValue) {
  Client client = MakeClient();
  EXPECT_THAT(client.Run(job_, [] { return Value(42); }), Gives(42));
  EXPECT_THAT(client.Get(key_)->value, Value(42));
}

TEST_F(RunTest, ReturnsTheStoredResultWithoutComputing) {
  server_->StoreElsewhere(key_, 42);
  EXPECT_THAT(MakeClient().Run(job_, NotCalled), Gives(42));
}

TEST_F(RunTest, WaitsForTheHolderAndGetsItsResult) {
  server_->HoldElsewhere(key_);
  Client client = MakeClient();
  auto result = RunBeside(client, NotCalled);
  WaitUntilAwaited();
  server_->StoreElsewhere(key_, 42);
  EXPECT_THAT(result.get(), Gives(42));
}

TEST_F(RunTest, ComputesWhenTheHolderIsLost) {
  server_->HoldElsewhere(key_);
  Client client = MakeClient();
  auto result = RunBeside(client, [] { return Value("ours"); });
  WaitUntilAwaited();
  server_->Lapse(key_);
  EXPECT_THAT(result.get(), Gives("ours"));
}

TEST_F(RunTest, PassesTheHoldersFailureOn) {
  server_->HoldElsewhere(key_);
  Client client = MakeClient();
  auto result = RunBeside(client, NotCalled);
  WaitUntilAwaited();
  server_->FailElsewhere(key_, "no such file");
  EXPECT_THAT(result.get(), Fails(absl::StatusCode::kAborted, "no such file"));
}

TEST_F(RunTest, GivesALateFailureBackOnlyIfToldSo) {
  server_->HoldElsewhere(key_);
  server_->FailElsewhere(key_, "no such file");
  ClientOptions options = Quick();
  options.answer_failures = absl::Hours(1);
  EXPECT_THAT(MakeClient(options).Run(job_, NotCalled),
              Fails(absl::StatusCode::kAborted, "no such file"));
  EXPECT_EQ(server_->submits().at(0).options().answer_failures().seconds(), 3600);
  EXPECT_THAT(MakeClient().Run(job_, [] { return Value(42); }), Gives(42));
  EXPECT_FALSE(server_->submits().at(1).options().has_answer_failures());
}

TEST_F(RunTest, HearsOfAFailureThatCameBetweenSubmitAndAwait) {
  const int64_t epoch = server_->HoldElsewhere(key_);
  server_->on_await = [this] { server_->FailElsewhere(key_, "no such file"); };
  EXPECT_THAT(MakeClient().Run(job_, NotCalled), Fails(absl::StatusCode::kAborted, "no such file"));
  EXPECT_EQ(server_->awaits().at(0).items(0).after_epoch(), epoch);
}

TEST_F(RunTest, StoresAStatusAsTheJobsFailure) {
  const auto result = MakeClient().Run(job_, [] { return absl::NotFoundError("no such file"); });
  EXPECT_THAT(result, Fails(absl::StatusCode::kAborted, "no such file"));
  const v1::StoreResultRequest stored = server_->stores().at(0);
  EXPECT_EQ(stored.kind(), v1::RESULT_KIND_ERROR);
  EXPECT_THAT(stored.record().json(), ::testing::HasSubstr("no such file"));
  EXPECT_THAT(stored.record().json(), ::testing::HasSubstr("NOT_FOUND"));
}

TEST_F(RunTest, StoresAnExceptionAsTheJobsFailure) {
  const auto result = MakeClient().Run(
      job_, []() -> absl::StatusOr<Value> { throw std::runtime_error("no such file"); });
  EXPECT_THAT(result, Fails(absl::StatusCode::kAborted, "no such file"));
  EXPECT_EQ(server_->stores().at(0).kind(), v1::RESULT_KIND_ERROR);
}

TEST_F(RunTest, StoresAnExceptionOfNoKnownTypeAsTheJobsFailure) {
  const auto result = MakeClient().Run(job_, []() -> absl::StatusOr<Value> { throw 42; });
  EXPECT_THAT(result, Fails(absl::StatusCode::kAborted, "exception"));
  EXPECT_EQ(server_->stores().at(0).kind(), v1::RESULT_KIND_ERROR);
}

TEST_F(RunTest, AFailureUnderALostLeaseIsStillTheCallersError) {
  const auto result = MakeClient().Run(job_, [this]() -> absl::StatusOr<Value> {
    server_->Lapse(key_);
    return absl::NotFoundError("no such file");
  });
  EXPECT_THAT(result, Fails(absl::StatusCode::kAborted, "no such file"));
}

TEST_F(RunTest, GetsWhatSomebodyElseStoredFirst) {
  const auto result = MakeClient().Run(job_, [this] {
    server_->StoreElsewhere(key_, "theirs");
    return Value("ours");
  });
  EXPECT_THAT(result, Gives("theirs"));
}

TEST_F(RunTest, ARefusedValueGivesTheLeaseBack) {
  server_->FailNext("StoreResult", absl::InvalidArgumentError("record: too deep"));
  Client client = MakeClient();
  EXPECT_THAT(client.Run(job_, [] { return Value(1); }),
              Fails(absl::StatusCode::kInvalidArgument, "too deep"));
  // Nobody has to wait for the lease to lapse.
  EXPECT_THAT(client.Run(job_, [] { return Value(2); }), Gives(2));
}

TEST_F(RunTest, AWorkflowIsNotUnfoldedAndGivesTheLeaseBack) {
  Client client = MakeClient();
  EXPECT_THAT(client.Run(job_, [] { return WorkflowRecord(); }),
              Fails(absl::StatusCode::kFailedPrecondition, "unfolds into a workflow"));
  EXPECT_EQ(server_->Calls("StoreResult"), 0);
  EXPECT_THAT(client.Run(job_, [] { return Value(2); }), Gives(2));
}

TEST_F(RunTest, ALostAnswerOfSubmitOrStoreIsNoHarm) {
  server_->LoseNextAnswer("Submit");
  server_->LoseNextAnswer("StoreResult");
  int computed = 0;
  EXPECT_THAT(MakeClient().Run(job_,
                               [&] {
                                 ++computed;
                                 return Value(42);
                               }),
              Gives(42));
  EXPECT_EQ(computed, 1);
  EXPECT_EQ(server_->Calls("Submit"), 2);
  EXPECT_EQ(server_->Calls("StoreResult"), 2);
}

TEST_F(RunTest, RenewsTheLeaseWhileTheFunctionRuns) {
  server_->term = absl::Milliseconds(15);
  const auto result = MakeClient().Run(job_, [this] {
    server_->WaitUntil([this] { return server_->Renewals("lease-1") >= 3; });
    return Value(42);
  });
  EXPECT_THAT(result, Gives(42));
}

TEST_F(RunTest, RenewsALeaseThatAwaitBrought) {
  server_->HoldElsewhere(key_);
  server_->term = absl::Milliseconds(15);
  Client client = MakeClient();
  auto result = RunBeside(client, [this] {
    server_->WaitUntil([this] {
      const auto renews = server_->renews();
      return renews.size() >= 3 && server_->Renewals(renews.back().leases(0)) >= 2;
    });
    return Value(42);
  });
  WaitUntilAwaited();
  server_->Lapse(key_);
  EXPECT_THAT(result.get(), Gives(42));
}

TEST_F(RunTest, RenewsOnWhenRenewalsFail) {
  server_->term = absl::Milliseconds(15);
  server_->FailNext("Renew", kAway, 2);
  server_->FailNext("Renew", absl::DeadlineExceededError("no answer"));
  const auto result = MakeClient().Run(job_, [this] {
    server_->WaitUntil([this] { return server_->Renewals("lease-1") >= 1; });
    return Value(42);
  });
  EXPECT_THAT(result, Gives(42));
}

TEST_F(RunTest, TheFunctionMayDestroyTheClient) {
  std::optional<Client> client = MakeClient();
  const auto result = client->Run(job_, [&] {
    client.reset();
    return Value(42);
  });
  EXPECT_THAT(result, Gives(42));
}

TEST_F(RunTest, AsyncRunsOnAtMostSoManyThreads) {
  ClientOptions options = Quick();
  options.threads = 3;
  Client client = MakeClient(options);
  std::mutex mutex;
  std::set<std::thread::id> threads;
  std::vector<std::future<absl::StatusOr<Value>>> results;
  for (int i = 0; i < 100; ++i) {
    results.push_back(client.RunAsync(JobOf(i), [&mutex, &threads, i] {
      std::lock_guard lock(mutex);
      threads.insert(std::this_thread::get_id());
      return Value(i);
    }));
  }
  for (int i = 0; i < 100; ++i) EXPECT_THAT(results[i].get(), Gives(i));
  EXPECT_LE(threads.size(), 3);
  EXPECT_FALSE(threads.contains(std::this_thread::get_id()));
}

TEST_F(RunTest, AsyncRunsSideBySide) {
  ClientOptions options = Quick();
  options.threads = 2;
  Client client = MakeClient(options);
  std::promise<void> second_runs;
  auto first = client.RunAsync(JobOf(1), [&] {
    second_runs.get_future().wait();
    return Value(1);
  });
  auto second = client.RunAsync(JobOf(2), [&] {
    second_runs.set_value();
    return Value(2);
  });
  EXPECT_THAT(first.get(), Gives(1));
  EXPECT_THAT(second.get(), Gives(2));
}

TEST_F(RunTest, TheLastClientMayBeDestroyedByItsOwnAsyncFunction) {
  ClientOptions options = Quick();
  options.threads = 1;
  auto client = std::make_unique<Client>(server_, options);
  std::promise<void> queued;
  auto first = client->RunAsync(JobOf(1), [&] {
    queued.get_future().wait();
    client.reset();
    return Value(1);
  });
  auto second = client->RunAsync(JobOf(2), [] { return Value(2); });
  queued.set_value();
  EXPECT_THAT(first.get(), Gives(1));
  EXPECT_THAT(second.get(), Fails(absl::StatusCode::kCancelled, ""));
}

TEST_F(RunTest, DestroyingTheClientEndsWhatIsQueued) {
  ClientOptions options = Quick();
  options.threads = 1;
  auto client = std::make_unique<Client>(server_, options);
  std::promise<void> began, go_on;
  auto first = client->RunAsync(JobOf(1), [&] {
    began.set_value();
    go_on.get_future().wait();
    return Value(1);
  });
  auto second = client->RunAsync(JobOf(2), [] { return Value(2); });
  began.get_future().wait();
  client.reset();
  go_on.set_value();
  EXPECT_THAT(first.get(), Gives(1));
  EXPECT_THAT(second.get(), Fails(absl::StatusCode::kCancelled, ""));
}

}  // namespace
}  // namespace tiffin::testing
