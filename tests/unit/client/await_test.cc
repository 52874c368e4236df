// Waiting for jobs over streams that break.
#include <condition_variable>
#include <future>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "tests/unit/client/client_fixture.h"

namespace tiffin::testing {
namespace {

using Event = Awaited::Event;

class AwaitTest : public ClientTest {
 protected:
  AwaitTest() {
    for (int i = 0; i < 3; ++i) {
      keys_.push_back(KeyOf(JobOf(i)));
      server_->HoldElsewhere(keys_.back());
    }
  }
  // Waits for all keys on a thread of its own; `ended_` has the events by index.
  std::future<absl::Status> AwaitAllBeside(Client& client, AwaitOptions options = {}) {
    return std::async(std::launch::async, [this, &client, options] {
      return client.AwaitAll(keys_, options, [this](const Awaited& awaited) {
        std::lock_guard lock(mutex_);
        ended_.emplace(awaited.index, awaited);
        one_ended_.notify_all();
        return absl::OkStatus();
      });
    });
  }
  void WaitForStreams(size_t n) {
    server_->WaitUntil([&] { return server_->awaits().size() == n; });
  }
  void WaitForEnded(size_t n) {
    std::unique_lock lock(mutex_);
    one_ended_.wait(lock, [&] { return ended_.size() >= n; });
  }

  std::vector<Digest> keys_;
  std::mutex mutex_;
  std::condition_variable one_ended_;
  std::multimap<size_t, Awaited> ended_;  // guarded by mutex_
};

TEST_F(AwaitTest, TellsEachJobOnceAsItEnds) {
  Client client = MakeClient();
  auto status = AwaitAllBeside(client, {.capacity = 1});
  WaitForStreams(1);
  server_->StoreElsewhere(keys_[2], 42);
  server_->FailElsewhere(keys_[0], "no such file");
  server_->Lapse(keys_[1]);
  EXPECT_THAT(status.get(), IsOk());
  ASSERT_EQ(ended_.size(), 3);
  EXPECT_EQ(ended_.find(0)->second.event, Event::kFailed);
  EXPECT_EQ(ended_.find(1)->second.event, Event::kGranted);
  EXPECT_EQ(ended_.find(1)->second.lease->id, "lease-4");
  EXPECT_EQ(ended_.find(2)->second.event, Event::kResult);
  EXPECT_EQ(ended_.find(2)->second.result->value, Value(42));
}

TEST_F(AwaitTest, AsksAgainOnlyForWhatHasNotEnded) {
  Client client = MakeClient();
  auto status = AwaitAllBeside(client, {.capacity = 2});
  WaitForStreams(1);
  server_->StoreElsewhere(keys_[0], 0);
  server_->Lapse(keys_[1]);
  WaitForEnded(2);
  server_->BreakStreams(kAway);
  WaitForStreams(2);
  const v1::AwaitRequest again = server_->awaits()[1];
  ASSERT_EQ(again.items_size(), 1);
  EXPECT_EQ(again.items(0).job().key(), keys_[2].view());
  EXPECT_EQ(again.capacity(), 1);
  server_->StoreElsewhere(keys_[2], 2);
  EXPECT_THAT(status.get(), IsOk());
  EXPECT_EQ(ended_.find(2)->second.result->value, Value(2));
}

TEST_F(AwaitTest, HearsOfAFailureThatCameBetweenTwoStreams) {
  Client client = MakeClient();
  keys_.resize(1);
  auto status = AwaitAllBeside(client);
  WaitForStreams(1);
  server_->on_await = [this] { server_->FailElsewhere(keys_[0], "no such file"); };
  server_->BreakStreams(kAway);
  EXPECT_THAT(status.get(), IsOk());
  EXPECT_EQ(ended_.find(0)->second.event, Event::kFailed);
}

TEST_F(AwaitTest, OutlastsAnyNumberOfBreaksAsLongAsItGetsFurther) {
  ClientOptions options = Quick();
  options.retry.patience = absl::Milliseconds(4);  // a few tries
  Client client = MakeClient(options);
  auto status = AwaitAllBeside(client);
  for (size_t i = 1; i <= 30; ++i) {
    WaitForStreams(i);
    server_->BreakStreams(kAway);
  }
  WaitForStreams(31);
  for (const Digest& key : keys_) server_->StoreElsewhere(key, 1);
  EXPECT_THAT(status.get(), IsOk());
}

TEST_F(AwaitTest, GivesUpWhenTheServerStaysAway) {
  ClientOptions options = Quick();
  options.retry.patience = absl::Milliseconds(4);
  server_->FailNext("Await", kAway, 1000);
  EXPECT_THAT(MakeClient(options).Await(keys_[0]), Fails(absl::StatusCode::kUnavailable, "away"));
  EXPECT_LT(server_->Calls("Await"), 20);
}

TEST_F(AwaitTest, AnErrorOfOneJobIsNoProgress) {
  ClientOptions options = Quick();
  options.retry.patience = absl::Milliseconds(4);
  server_->await_errors[keys_[1]] = kAway;
  Client client = MakeClient(options);
  EXPECT_THAT(AwaitAllBeside(client).get(), Fails(absl::StatusCode::kUnavailable, "away"));
  EXPECT_LT(server_->Calls("Await"), 20);
}

TEST_F(AwaitTest, AnErrorOfOneJobEndsTheCallAndNamesTheJob) {
  server_->await_errors[keys_[1]] = absl::DataLossError("damaged");
  Client client = MakeClient();
  EXPECT_THAT(AwaitAllBeside(client).get(), Fails(absl::StatusCode::kDataLoss, keys_[1].ToText()));
  EXPECT_EQ(server_->Calls("Await"), 1);
}

TEST_F(AwaitTest, AnErrorOfTheCallbackEndsTheCallAndIsNotRepeated) {
  server_->StoreElsewhere(keys_[0], 1);
  server_->StoreElsewhere(keys_[1], 1);
  int calls = 0;
  EXPECT_THAT(MakeClient().AwaitAll(keys_, {},
                                    [&](const Awaited&) {
                                      ++calls;
                                      return absl::UnavailableError("mine");
                                    }),
              Fails(absl::StatusCode::kUnavailable, "mine"));
  EXPECT_EQ(calls, 1);
}

TEST_F(AwaitTest, TheCallbackMayDestroyTheClient) {
  for (const Digest& key : keys_) server_->StoreElsewhere(key, 1);
  std::optional<Client> client = MakeClient();
  size_t ended = 0;
  EXPECT_THAT(client->AwaitAll(keys_, {},
                               [&](const Awaited&) {
                                 client.reset();
                                 ++ended;
                                 return absl::OkStatus();
                               }),
              IsOk());
  EXPECT_EQ(ended, 3);
}

TEST_F(AwaitTest, EndsAtItsDeadline) {
  EXPECT_THAT(MakeClient().Await(keys_[0], {.deadline = absl::Now()}),
              Fails(absl::StatusCode::kDeadlineExceeded, "1 of 1"));
}

TEST_F(AwaitTest, ADeadlineEndsTheWaitForAServerThatIsAway) {
  server_->FailNext("Await", kAway, 1000);
  EXPECT_THAT(MakeClient().Await(keys_[0], {.deadline = absl::InfinitePast()}),
              Fails(absl::StatusCode::kUnavailable, "away"));
  EXPECT_EQ(server_->Calls("Await"), 1);
}

TEST_F(AwaitTest, ManyJobsAreAskedForInMessagesOfAboutAMebibyte) {
  constexpr int kJobs = 50'000;
  keys_.clear();
  for (int i = 0; i < kJobs; ++i) {
    keys_.push_back(Sha256::Of(std::to_string(i)));
    server_->StoreElsewhere(keys_.back(), i);
  }
  Client client = MakeClient();
  EXPECT_THAT(AwaitAllBeside(client, {.capacity = 1}).get(), IsOk());
  EXPECT_EQ(ended_.size(), keys_.size());
  EXPECT_EQ(ended_.find(kJobs - 1)->second.result->value, Value(kJobs - 1));
  const std::vector<v1::AwaitRequest> messages = server_->awaits();
  EXPECT_EQ(messages.size(), 3);
  int items = 0;
  for (const v1::AwaitRequest& message : messages) {
    EXPECT_LT(message.ByteSizeLong(), 2 << 20);
    EXPECT_EQ(message.has_caller(), &message == &messages[0]);
    EXPECT_EQ(message.capacity(), &message == &messages[0] ? 1 : 0);
    items += message.items_size();
  }
  EXPECT_EQ(items, kJobs);
}

TEST_F(AwaitTest, NoJobsAreNoCall) {
  EXPECT_THAT(MakeClient().AwaitAll({}, {}, [](const Awaited&) { return absl::OkStatus(); }),
              IsOk());
  EXPECT_EQ(server_->Calls("Await"), 0);
}

}  // namespace
}  // namespace tiffin::testing
