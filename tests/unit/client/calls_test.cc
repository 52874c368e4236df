// Single calls and batches: what is repeated, and what goes into one message.
#include <string>
#include <vector>

#include "client/grpc_status.h"
#include "tests/unit/client/client_fixture.h"

namespace tiffin::testing {
namespace {

class CallsTest : public ClientTest {
 protected:
  static std::vector<Value> Jobs(int n) {
    std::vector<Value> jobs;
    for (int i = 0; i < n; ++i) jobs.push_back(JobOf(i));
    return jobs;
  }
  static std::vector<Digest> KeysOf(int n) {
    std::vector<Digest> keys;
    for (int i = 0; i < n; ++i) keys.push_back(Sha256::Of(std::to_string(i)));
    return keys;
  }
};

TEST_F(CallsTest, SubmitIsRepeatedWithTheSameRequestId) {
  server_->LoseNextAnswer("Submit");
  const auto submitted = MakeClient().Submit(JobOf(1));
  ASSERT_THAT(submitted, IsOk());
  EXPECT_EQ(submitted->outcome, Submitted::Outcome::kGranted);
  const auto submits = server_->submits();
  ASSERT_EQ(submits.size(), 2);
  EXPECT_FALSE(submits[0].caller().request_id().empty());
  EXPECT_EQ(submits[0].caller().request_id(), submits[1].caller().request_id());
}

TEST_F(CallsTest, TwoSubmitsHaveTwoRequestIds) {
  Client client = MakeClient();
  ASSERT_THAT(client.Submit(JobOf(1)), IsOk());
  const auto second = client.Submit(JobOf(1));
  ASSERT_THAT(second, IsOk());
  EXPECT_EQ(second->outcome, Submitted::Outcome::kAttached);
}

TEST_F(CallsTest, NoOtherErrorIsRepeated) {
  const absl::StatusCode codes[] = {
      absl::StatusCode::kInvalidArgument,    absl::StatusCode::kNotFound,
      absl::StatusCode::kFailedPrecondition, absl::StatusCode::kDeadlineExceeded,
      absl::StatusCode::kInternal,           absl::StatusCode::kResourceExhausted,
      absl::StatusCode::kDataLoss,           absl::StatusCode::kUnknown};
  int calls = 0;
  for (const absl::StatusCode code : codes) {
    server_->FailNext("Submit", absl::Status(code, "as it is"));
    EXPECT_THAT(MakeClient().Submit(JobOf(1)), Fails(code, "as it is"));
    EXPECT_EQ(server_->Calls("Submit"), ++calls);
  }
}

TEST_F(CallsTest, AnAliasIsReplacedOnce) {
  Client client = MakeClient();
  server_->LoseNextAnswer("Alias");
  EXPECT_THAT(client.SetAlias("p", "n", Sha256::Of("1")), IsOk());
  EXPECT_EQ(server_->Calls("Alias"), 2);
  server_->LoseNextAnswer("Alias");  // somebody may set it anew before a second try
  EXPECT_EQ(client.SetAlias("p", "n", Sha256::Of("2"), /*replace=*/true).code(),
            absl::StatusCode::kUnavailable);
  EXPECT_EQ(server_->Calls("Alias"), 3);
}

TEST_F(CallsTest, PatienceOfZeroIsOneTry) {
  ClientOptions options = Quick();
  options.retry.patience = absl::ZeroDuration();
  server_->FailNext("Submit", kAway, 10);
  EXPECT_THAT(MakeClient(options).Submit(JobOf(1)), Fails(absl::StatusCode::kUnavailable, "away"));
  EXPECT_EQ(server_->Calls("Submit"), 1);
}

TEST_F(CallsTest, TriesEndWithTheDeadline) {
  ClientOptions options = Quick();
  options.retry.patience = absl::InfiniteDuration();
  Client client = MakeClient(options);
  server_->FailNext("Submit", kAway, 100'000);
  EXPECT_THAT(client.Until(absl::Now() + absl::Milliseconds(20)).Submit(JobOf(1)),
              Fails(absl::StatusCode::kUnavailable, "away"));
  server_->FailNext("BatchPut", kAway, 100'000);
  EXPECT_THAT(client.Until(absl::Now() + absl::Milliseconds(20)).Put("uint8", {3}, "abc"),
              Fails(absl::StatusCode::kUnavailable, "away"));
}

TEST_F(CallsTest, RunTakesAsLongAsItsFunction) {
  EXPECT_THAT(MakeClient().Until(absl::InfinitePast()).Run(JobOf(1), [] { return Value(7); }),
              IsOk());
}

TEST_F(CallsTest, AServerThatAsksToComeBackLaterIsAskedLater) {
  absl::Status full = absl::ResourceExhaustedError("too much in flight");
  full.SetPayload(kRetryInfoType, absl::Cord());  // without a delay: at once
  server_->FailNext("Submit", full, 3);
  EXPECT_THAT(MakeClient().Submit(JobOf(1)), IsOk());
  EXPECT_EQ(server_->Calls("Submit"), 4);
}

TEST_F(CallsTest, SubmitBatchAnswersInOrderEachWithItsOwnStatus) {
  std::vector<Value> jobs = Jobs(3);
  jobs[1] = Value("no job");
  server_->StoreElsewhere(KeyOf(jobs[2]), 42);
  const auto answers = MakeClient().SubmitBatch(jobs);
  ASSERT_THAT(answers, IsOk());
  ASSERT_EQ(answers->size(), 3);
  EXPECT_EQ((*answers)[0]->outcome, Submitted::Outcome::kGranted);
  EXPECT_THAT((*answers)[1], Fails(absl::StatusCode::kInvalidArgument, ""));
  EXPECT_EQ((*answers)[2]->result->value, Value(42));
}

TEST_F(CallsTest, SubmitBatchFindsItsLeasesAgainAfterABreak) {
  server_->batch_breaks_after = {2, 1};
  const auto answers = MakeClient().SubmitBatch(Jobs(4));
  ASSERT_THAT(answers, IsOk());
  for (const auto& answer : *answers) {
    ASSERT_THAT(answer, IsOk());
    EXPECT_EQ(answer->outcome, Submitted::Outcome::kGranted);
  }
  EXPECT_EQ(server_->Calls("SubmitBatch"), 3);
}

TEST_F(CallsTest, SubmitBatchOutlastsAnyNumberOfBreaksAsLongAsItGetsFurther) {
  ClientOptions options = Quick();
  options.retry.patience = absl::Milliseconds(4);  // a few tries without progress
  for (int i = 1; i <= 30; ++i) server_->batch_breaks_after.push_back(i);
  const auto answers = MakeClient(options).SubmitBatch(Jobs(31));
  ASSERT_THAT(answers, IsOk());
  for (const auto& answer : *answers) EXPECT_THAT(answer, IsOk());
  EXPECT_EQ(server_->Calls("SubmitBatch"), 31);
}

TEST_F(CallsTest, SubmitBatchKeepsTheAnswersItGotFromALostServer) {
  ClientOptions options = Quick();
  options.retry.patience = absl::ZeroDuration();
  server_->batch_breaks_after = {2};
  const auto answers = MakeClient(options).SubmitBatch(Jobs(3));
  ASSERT_THAT(answers, IsOk());
  ASSERT_EQ(answers->size(), 3);
  EXPECT_TRUE((*answers)[0]->lease.has_value());
  EXPECT_TRUE((*answers)[1]->lease.has_value());
  EXPECT_THAT((*answers)[2], Fails(absl::StatusCode::kUnavailable, "broken"));
}

TEST_F(CallsTest, SubmitBatchFailsIfNoJobWasAnswered) {
  server_->FailNext("SubmitBatch", absl::InvalidArgumentError("caller.namespace: bad"));
  EXPECT_THAT(MakeClient().SubmitBatch(Jobs(3)),
              Fails(absl::StatusCode::kInvalidArgument, "namespace"));
}

TEST_F(CallsTest, SubmitBatchSplitsIntoMessagesAndCalls) {
  std::vector<Value> jobs;
  for (int i = 0; i < 90; ++i) {
    jobs.push_back(
        Value(Object{{"function", "f"}, {"arguments", List{i, std::string(400 << 10, 'x')}}}));
  }
  const auto answers = MakeClient().SubmitBatch(jobs, {.max_grants = 85});
  ASSERT_THAT(answers, IsOk());
  const auto calls = server_->submit_batches();
  ASSERT_EQ(calls.size(), 2);  // of 32 MiB and the rest
  EXPECT_NE(calls[0][0].caller().request_id(), calls[1][0].caller().request_id());
  int sent = 0;
  for (const auto& messages : calls) {
    for (const v1::SubmitBatchRequest& message : messages) {
      EXPECT_LT(message.ByteSizeLong(), 3 << 19);
      EXPECT_EQ(message.has_caller(), &message == &messages[0]);
      sent += message.jobs_size();
    }
  }
  EXPECT_EQ(sent, 90);
  EXPECT_EQ(calls[1][0].max_grants(), 85 - 82);
  for (size_t i = 0; i < answers->size(); ++i) {
    ASSERT_THAT((*answers)[i], IsOk());
    EXPECT_EQ((*answers)[i]->key, KeyOf(jobs[i]));
    EXPECT_EQ((*answers)[i]->outcome,
              i < 85 ? Submitted::Outcome::kGranted : Submitted::Outcome::kOpen);
  }
}

TEST_F(CallsTest, BatchGetAnswersInOrder) {
  const std::vector<Digest> keys = KeysOf(3);
  server_->StoreElsewhere(keys[0], "zero");
  server_->StoreElsewhere(keys[2], "two");
  const auto results = MakeClient().BatchGet(keys);
  ASSERT_THAT(results, IsOk());
  ASSERT_EQ(results->size(), 3);
  EXPECT_EQ((*results)[0]->value, Value("zero"));
  EXPECT_THAT((*results)[1], Fails(absl::StatusCode::kNotFound, ""));
  EXPECT_EQ((*results)[2]->value, Value("two"));
}

TEST_F(CallsTest, BatchGetAsksAgainForWhatABrokenStreamDidNotAnswer) {
  const std::vector<Digest> keys = KeysOf(5);
  for (const int i : {0, 2, 4}) server_->StoreElsewhere(keys[i], std::to_string(i));
  server_->batch_breaks_after = {3, 0};
  const auto results = MakeClient().BatchGet(keys);
  ASSERT_THAT(results, IsOk());
  for (const int i : {0, 2, 4}) EXPECT_EQ((*results)[i]->value, Value(std::to_string(i)));
  for (const int i : {1, 3}) EXPECT_THAT((*results)[i], Fails(absl::StatusCode::kNotFound, ""));
  EXPECT_EQ(server_->Calls("BatchGetResults"), 3);
}

TEST_F(CallsTest, BatchGetOfMoreKeysThanAMessageTakesIsOneCall) {
  const std::vector<Digest> keys = KeysOf(20'001);
  server_->StoreElsewhere(keys[10'000], "in the second message");
  server_->StoreElsewhere(keys[20'000], "in the third");
  const auto results = MakeClient().BatchGet(keys);
  ASSERT_THAT(results, IsOk());
  ASSERT_EQ(results->size(), 20'001);
  EXPECT_EQ((*results)[10'000]->value, Value("in the second message"));
  EXPECT_EQ((*results)[20'000]->value, Value("in the third"));
  EXPECT_EQ(server_->Calls("BatchGetResults"), 1);
}

TEST_F(CallsTest, RenewOfMoreLeasesThanACallTakesIsSplit) {
  server_->HoldElsewhere(Sha256::Of("job"));
  std::vector<Lease> leases(10'002, Lease{.id = "unknown"});
  leases[10'001].id = "lease-1";
  const auto renewals = MakeClient().Renew(leases);
  ASSERT_THAT(renewals, IsOk());
  ASSERT_EQ(renewals->size(), 10'002);
  EXPECT_EQ(renewals->front(), Client::Renewal::kLost);
  EXPECT_EQ(renewals->back(), Client::Renewal::kRenewed);
  EXPECT_EQ(server_->Calls("Renew"), 2);
}

TEST_F(CallsTest, EveryCallSaysWhoCalls) {
  ClientOptions options = Quick();
  options.name_space = "tests";
  options.session = {.name = "name", .user = "user", .host = "host \xff", .script = "script"};
  ASSERT_THAT(MakeClient(options).Submit(JobOf(1)), IsOk());
  const v1::Caller caller = server_->submits()[0].caller();
  EXPECT_EQ(caller.namespace_(), "tests");
  EXPECT_EQ(caller.session().id().size(), 32);
  EXPECT_EQ(caller.session().name(), "name");
  EXPECT_EQ(caller.session().user(), "user");
  EXPECT_EQ(caller.session().host(), "host \xef\xbf\xbd");  // the wire takes UTF-8 only
  EXPECT_EQ(caller.session().script(), "script");
  EXPECT_TRUE(caller.session().has_since());
}

TEST_F(CallsTest, TheKeyComputedHereIsThatOfTheServer) {
  Client client = MakeClient();
  const auto submitted = client.Submit(JobOf(1));
  ASSERT_THAT(submitted, IsOk());
  EXPECT_EQ(*client.KeyOf(JobOf(1)), submitted->key);
}

}  // namespace
}  // namespace tiffin::testing
