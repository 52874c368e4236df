// The rules of a job's life, on backends in memory and a clock that the test moves.
#include "server/store/job_store.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>

#include "common/base64.h"
#include "tests/unit/store/store_fixture.h"

namespace tiffin::server {
namespace {

using Outcome = SubmitAnswer::Outcome;
using Kind = WaitEvent::Kind;

class JobStoreTest : public StoreFixture {
 protected:
  SubmitAnswer Submit(const std::string& host, const std::string& job, std::string request = "") {
    CallerInfo caller = Caller(host);
    caller.request_id = std::move(request);
    auto answer = SubmitAndWait(store_, caller, job, {.can_compute = true});
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.ok() ? *answer : SubmitAnswer();
  }
  absl::Status Store(const Digest& key, const std::optional<LeaseRow>& lease,
                     const std::string& record, std::optional<ResultKind> kind = std::nullopt) {
    StoreRequest request;
    request.key = key;
    if (lease) {
      request.lease_id = lease->lease_id;
      request.epoch = lease->epoch;
    }
    request.record = record;
    request.kind = kind;
    return StoreAndWait(store_, Caller("a"), request, &stored_);
  }
  Renewal Renew(const LeaseRow& lease, bool progress = false) {
    return store_.Renew({&lease.lease_id, 1}, progress)[0];
  }
  bool Release(const LeaseRow& lease) { return *store_.Release({lease.lease_id}) == 1; }

  StoreAnswer stored_;
};

TEST_F(JobStoreTest, TheFirstIsGrantedTheSecondAttachedTheThirdRetrieves) {
  const SubmitAnswer first = Submit("a", Job(1));
  ASSERT_EQ(first.outcome, Outcome::kGranted);
  const SubmitAnswer second = Submit("b", Job(1));
  ASSERT_EQ(second.outcome, Outcome::kAttached);
  EXPECT_EQ(second.holder->session.host, "a");
  EXPECT_EQ(second.holder->epoch, first.lease->epoch);
  ASSERT_TRUE(Store(first.key, first.lease, "42").ok());
  const SubmitAnswer third = Submit("c", Job(1));
  ASSERT_EQ(third.outcome, Outcome::kRetrieved);
  EXPECT_EQ(third.result->row.record, "42");
}

// Holds the writer until it is told to go on.
class BusyWriter {
 public:
  explicit BusyWriter(JobDatabase& database) {
    std::promise<void> begun;
    database.Write({[&begun, go_on = go_on_.get_future().share()](JobTransaction&) {
                      begun.set_value();
                      go_on.wait();
                      return absl::OkStatus();
                    },
                    nullptr});
    begun.get_future().wait();
  }
  ~BusyWriter() { go_on_.set_value(); }

 private:
  std::promise<void> go_on_;
};

TEST_F(JobStoreTest, HitsAndReadsDoNotWaitForTheWriter) {
  const std::string bytes = Base64Encode(std::string(100'000, 'x'));
  const std::string job =
      StrCat(R"({"function": "f", "arguments": [{"_noodles": "0.3.0", "type": "<object>", )",
             R"("class": "builtins.bytes", "data": ")", bytes, R"("}]})");
  const SubmitAnswer first = Submit("a", job);
  ASSERT_TRUE(Store(first.key, first.lease, "42").ok());
  const BusyWriter busy(*database_);
  const auto again = SubmitAndWait(store_, Caller("b"), job, {.can_compute = true});
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->outcome, Outcome::kRetrieved);
  EXPECT_EQ((*store_.GetResult("default", first.key))->result.row.record, "42");
  EXPECT_EQ(store_.GetResult("default", Digest()).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(JobStoreTest, TheSameRequestIdFindsTheSameLease) {
  const SubmitAnswer first = Submit("a", Job(1), "r1");
  const SubmitAnswer again = Submit("a", Job(1), "r1");
  ASSERT_EQ(again.outcome, Outcome::kGranted);
  EXPECT_EQ(again.lease->lease_id, first.lease->lease_id);
  EXPECT_EQ(Submit("a", Job(1), "r2").outcome, Outcome::kAttached);
}

TEST_F(JobStoreTest, NamespacesAreApart) {
  const SubmitAnswer first = Submit("a", Job(1));
  ASSERT_TRUE(Store(first.key, first.lease, "42").ok());
  CallerInfo other = Caller("a");
  other.name_space = "other";
  auto answer = SubmitAndWait(store_, other, Job(1), {.can_compute = true});
  ASSERT_TRUE(answer.ok());
  EXPECT_EQ(answer->outcome, Outcome::kGranted);
}

TEST_F(JobStoreTest, WaitersArePushedTheResult) {
  const SubmitAnswer first = Submit("a", Job(1));
  const auto ear = Await(first.key, 0);
  EXPECT_EQ(ear->Next().kind, Kind::kAttached);
  ASSERT_TRUE(Store(first.key, first.lease, "42").ok());
  const WaitEvent event = ear->Next();
  ASSERT_EQ(event.kind, Kind::kResult);
  EXPECT_EQ(event.result->row.record, "42");
}

TEST_F(JobStoreTest, ALapsedLeaseGoesToTheFirstWaiterThatCanCompute) {
  const SubmitAnswer first = Submit("a", Job(1));
  const auto reader = Await(first.key, 0);
  const auto computer = Await(first.key, 1);
  EXPECT_EQ(computer->Next().kind, Kind::kAttached);
  clock_.Advance(std::chrono::seconds(31));
  const WaitEvent granted = computer->End();
  ASSERT_EQ(granted.kind, Kind::kGranted);
  EXPECT_GT(granted.lease->epoch, first.lease->epoch);
  // The old holder's value is welcome all the same, and ends the new lease.
  ASSERT_TRUE(Store(first.key, first.lease, "42").ok());
  EXPECT_EQ(reader->End().result->row.record, "42");
  EXPECT_EQ(Renew(*granted.lease), Renewal::kDoneElsewhere);
}

TEST_F(JobStoreTest, ARenewedLeaseDoesNotLapse) {
  const SubmitAnswer first = Submit("a", Job(1));
  clock_.Advance(std::chrono::seconds(20));
  EXPECT_EQ(Renew(*first.lease), Renewal::kRenewed);
  clock_.Advance(std::chrono::seconds(20));
  EXPECT_EQ(Submit("b", Job(1)).outcome, Outcome::kAttached);
  EXPECT_EQ(Renew({.lease_id = "no such lease"}), Renewal::kLost);
}

TEST_F(JobStoreTest, AJobWhoseHoldersAreLostThreeTimesFailsWithTheirHosts) {
  const Digest key = Submit("host-a", Job(1)).key;
  const auto ear = Await(key, 2);
  EXPECT_EQ(ear->Next().kind, Kind::kAttached);
  clock_.Advance(std::chrono::seconds(31));
  ASSERT_EQ(ear->End().kind, Kind::kGranted);
  const auto second = Await(key, 1);
  EXPECT_EQ(second->Next().kind, Kind::kAttached);
  clock_.Advance(std::chrono::seconds(31));
  ASSERT_EQ(second->End().kind, Kind::kGranted);
  const auto third = Await(key, 1);
  EXPECT_EQ(third->Next().kind, Kind::kAttached);
  clock_.Advance(std::chrono::seconds(31));
  const WaitEvent failed = third->End();
  ASSERT_EQ(failed.kind, Kind::kFailed);
  EXPECT_NE(failed.result->row.record.find("host-a,waiter,waiter"), std::string::npos);
}

TEST_F(JobStoreTest, FailuresAreToldButNeverHits) {
  const SubmitAnswer first = Submit("a", Job(1));
  const auto ear = Await(first.key, 0);
  ASSERT_TRUE(Store(first.key, first.lease, R"({"error": "x"})", ResultKind::kError).ok());
  EXPECT_EQ(ear->End().kind, Kind::kFailed);
  // Who asks late, but knows the epoch, hears of it too.
  EXPECT_EQ(Await(first.key, 0, first.lease->epoch)->End().kind, Kind::kFailed);
  EXPECT_EQ(Submit("b", Job(1)).outcome, Outcome::kGranted);
}

TEST_F(JobStoreTest, StoringAgainIsOkAndAnotherValueIsEvidence) {
  const SubmitAnswer first = Submit("a", Job(1));
  ASSERT_TRUE(Store(first.key, first.lease, "42").ok());
  ASSERT_TRUE(Store(first.key, first.lease, "42").ok());
  EXPECT_TRUE(stored_.repeated);
  EXPECT_TRUE(absl::IsAlreadyExists(Store(first.key, first.lease, "43")));
  EXPECT_EQ(store_.Counts()->evidence, 1);
  EXPECT_EQ(Submit("b", Job(1)).result->row.record, "42");
}

TEST_F(JobStoreTest, ErrorsNeedTheLiveLeaseAndValuesAKnownEpoch) {
  const SubmitAnswer first = Submit("a", Job(1));
  LeaseRow forged = *first.lease;
  forged.lease_id = "forged";
  EXPECT_TRUE(absl::IsFailedPrecondition(Store(first.key, forged, "{}", ResultKind::kError)));
  forged.epoch = first.lease->epoch + 7;
  EXPECT_TRUE(absl::IsFailedPrecondition(Store(first.key, forged, "1")));
  EXPECT_TRUE(absl::IsFailedPrecondition(Store(first.key, std::nullopt, "1")))
      << "somebody computes it";
  EXPECT_TRUE(absl::IsNotFound(Store(Digest(), std::nullopt, "1")));
}

TEST_F(JobStoreTest, AReleasedJobIsGrantedAtOnce) {
  const SubmitAnswer first = Submit("a", Job(1));
  const auto ear = Await(first.key, 1);
  EXPECT_EQ(ear->Next().kind, Kind::kAttached);
  EXPECT_TRUE(Release(*first.lease));
  EXPECT_EQ(ear->End().kind, Kind::kGranted);
  EXPECT_FALSE(Release(*first.lease));
}

TEST_F(JobStoreTest, AResultWithAbsentBlobsIsRefusedAndListsThem) {
  const SubmitAnswer first = Submit("a", Job(1));
  const Array array{"uint8", {3}, "abc"};
  const std::string record = StrCat(
      R"({"_noodles": "0.3.0", "type": "<object>", "class": "numpy.ndarray", "ref": true, "data": )",
      R"({"hdf5_path": ")", array.Name().key.ToText(), R"(", "dtype": "uint8", "shape": [3]}})");
  EXPECT_TRUE(absl::IsFailedPrecondition(Store(first.key, first.lease, record)));
  EXPECT_EQ(stored_.missing.blobs, std::vector<BlobName>{array.Name()});
  ASSERT_TRUE(blobs_.PutSmall("default", {{array.Name(), true, array.bytes}})[0].ok());
  EXPECT_TRUE(Store(first.key, first.lease, record).ok());
}

TEST_F(JobStoreTest, BulkLeavesTheRecordAndComesBackInline) {
  const SubmitAnswer first = Submit("a", Job(1));
  std::string base64;
  for (int i = 0; i < 3000; ++i) base64 += "AAEC";
  const std::string record =
      StrCat(R"({"_noodles":"0.3.0","type":"<object>","class":"builtins.bytes","data":")", base64,
             R"("})");
  ASSERT_TRUE(Store(first.key, first.lease, record).ok());
  ASSERT_EQ(stored_.blobs.size(), 1u);
  const std::string stored = Submit("b", Job(1)).result->row.record;
  EXPECT_LT(stored.size(), 300u);
  EXPECT_EQ(*store_.Inline("default", stored), record);
}

TEST_F(JobStoreTest, TwoSchedulersShareABatch) {
  // Each asks for all jobs, and takes ten leases at a time.
  std::vector<absl::StatusOr<PreparedJob>> jobs;
  for (int i = 0; i < 1000; ++i) jobs.push_back(store_.Prepare(Job(i)));
  for (const char* scheduler : {"a", "b"}) {
    std::optional<uint64_t> grants = 10;
    int granted = 0;
    const ParallelFor one_by_one = [](size_t n, const std::function<void(size_t)>& work) {
      for (size_t i = 0; i < n; ++i) work(i);
    };
    for (const auto& answer : store_.SubmitMany(Caller(scheduler), jobs, 0, {.can_compute = true},
                                                &grants, one_by_one)) {
      ASSERT_TRUE(answer.ok());
      granted += answer->outcome == Outcome::kGranted;
    }
    EXPECT_EQ(granted, 10) << scheduler;
    EXPECT_EQ(grants, 0u);
  }
}

TEST_F(JobStoreTest, CapacityThatComesLaterIsUsedForWhatIsOpen) {
  std::vector<AwaitItem> items;
  for (uint64_t i = 0; i < 600; ++i) {
    const auto answer = SubmitAndWait(store_, Caller("a"), Job(static_cast<int>(i)), {});
    ASSERT_TRUE(answer.ok());
    items.push_back({i, answer->key, 0});
  }
  auto ear = std::make_shared<Ear>();
  AwaitSession session{.can_compute = true, .term = absl::Seconds(30), .caller = Caller("w")};
  session.tell = [ear](uint64_t, WaitEvent event) { ear->Tell(std::move(event)); };
  const auto id = store_.OpenAwait(std::move(session));
  store_.Await(id, Caller("w"), std::move(items));
  for (int i = 0; i < 600; ++i) EXPECT_EQ(ear->Next().kind, Kind::kOpen);
  store_.AddCapacity(id, 500);
  for (int i = 0; i < 500; ++i) EXPECT_EQ(ear->End().kind, Kind::kGranted);
  EXPECT_EQ(store_.Counts()->leases, 500);
  store_.CloseAwait(id);
}

TEST_F(JobStoreTest, AFailureIsAnsweredForTheTimeAskedFor) {
  const SubmitAnswer first = Submit("a", Job(1));
  ASSERT_TRUE(Store(first.key, first.lease, R"({"error": "x"})", ResultKind::kError).ok());
  const SubmitOptions options{.can_compute = true, .answer_failures = absl::Seconds(10)};
  EXPECT_EQ(SubmitAndWait(store_, Caller("b"), Job(1), options)->outcome, Outcome::kFailed);
  clock_.Advance(std::chrono::seconds(11));
  EXPECT_EQ(SubmitAndWait(store_, Caller("b"), Job(1), options)->outcome, Outcome::kGranted);
}

// Cannot be written while it is told so, as on a full disk.
class FullDatabase : public JobDatabase {
 public:
  explicit FullDatabase(JobDatabase* base) : base_(base) {}
  void Write(WriteOp op) override {
    if (full) {
      op.done(absl::ResourceExhaustedError("the disk is full"));
    } else {
      base_->Write(std::move(op));
    }
  }
  absl::Status Read(const std::function<absl::Status(JobReader&)>& look) override {
    return base_->Read(look);
  }
  void Close() override {}
  void OnFatal(std::function<void(absl::Status)>) override {}
  uint64_t DiskBytes() const override { return 0; }

  std::atomic<bool> full{false};

 protected:
  void WriteAnyway(WriteOp op) { base_->Write(std::move(op)); }

 private:
  JobDatabase* const base_;
};

TEST_F(JobStoreTest, WhoCouldNotBeGrantedIsWhenTheDiskHasRoomAgainThoughNobodyElseWrites) {
  FullDatabase database(database_.get());
  ManualClock clock;
  JobStore store(&database, &blobs_, &clock, {});
  ASSERT_TRUE(store.Start().ok());
  const auto ear = std::make_shared<Ear>();
  AwaitSession session;
  session.can_compute = true;
  session.term = absl::Seconds(30);
  session.caller = Caller("waiter");
  session.tell = [ear](uint64_t, WaitEvent event) { ear->Tell(std::move(event)); };
  const auto id = store.OpenAwait(std::move(session));
  const SubmitAnswer open = *SubmitAndWait(store, Caller("a"), Job(1), {.can_compute = false});
  store.Await(id, Caller("waiter"), {{0, open.key, 0}});
  EXPECT_EQ(ear->Next().kind, Kind::kOpen);
  database.full = true;
  store.AddCapacity(id, 1);
  clock.Advance(std::chrono::seconds(2));  // tried again, in vain
  database.full = false;
  clock.Advance(std::chrono::seconds(2));
  EXPECT_EQ(ear->End().kind, Kind::kGranted);
  store.CloseAwait(id);
  store.Stop();
}

// Runs what is written, and then cannot commit it.
class NoCommitDatabase : public FullDatabase {
 public:
  using FullDatabase::FullDatabase;
  void Write(WriteOp op) override {
    if (full) {
      op.apply = [apply = std::move(op.apply)](JobTransaction& tx) -> absl::Status {
        TIFFIN_RETURN_IF_ERROR(apply(tx));
        return absl::ResourceExhaustedError("the disk is full");
      };
    }
    WriteAnyway(std::move(op));
  }
};

TEST_F(JobStoreTest, WhatIsAwaitedHasOneEndingEachThoughTheCommitFails) {
  NoCommitDatabase database(database_.get());
  ManualClock clock;
  JobStore store(&database, &blobs_, &clock, {});
  ASSERT_TRUE(store.Start().ok());
  std::mutex mutex;
  std::condition_variable told;
  std::vector<uint64_t> endings;
  AwaitSession session;
  session.caller = Caller("waiter");
  session.tell = [&](uint64_t index, WaitEvent event) {
    EXPECT_EQ(event.kind, Kind::kError);
    EXPECT_EQ(event.error.code(), absl::StatusCode::kResourceExhausted) << event.error;
    const std::lock_guard lock(mutex);
    endings.push_back(index);
    told.notify_all();
  };
  const auto id = store.OpenAwait(std::move(session));
  database.full = true;
  store.Await(id, Caller("waiter"),
              {{0, AliasKey{"p", "no such alias"}, 0}, {1, Digest(), 0}, {2, Digest(), 0}});
  {
    std::unique_lock lock(mutex);
    told.wait(lock, [&] { return endings.size() >= 3; });
  }
  store.CloseAwait(id);
  store.Stop();
  EXPECT_EQ(endings, (std::vector<uint64_t>{0, 1, 2}));
}

TEST_F(JobStoreTest, ALeaseHeldWithoutProgressLapsesAlthoughItIsRenewed) {
  const SubmitAnswer idle = Submit("a", Job(1)), busy = Submit("a", Job(2));
  for (int i = 0; i < 24 * 3600 / 20; ++i) {
    clock_.Advance(std::chrono::seconds(20));
    Renew(*idle.lease);
    Renew(*busy.lease, true);
  }
  clock_.Advance(std::chrono::seconds(20));
  EXPECT_EQ(Renew(*idle.lease), Renewal::kLost);
  EXPECT_EQ(Renew(*busy.lease), Renewal::kRenewed);
  EXPECT_EQ(Submit("b", Job(1)).outcome, Outcome::kGranted);
  EXPECT_TRUE(Store(idle.key, idle.lease, "1").ok()) << "late, but welcome";
}

TEST_F(JobStoreTest, NobodyThatIsGoneGetsALease) {
  SubmitOptions options{.can_compute = true};
  bool gone = true;
  options.gone = [&gone] { return gone; };
  EXPECT_TRUE(absl::IsCancelled(SubmitAndWait(store_, Caller("a"), Job(1), options).status()));
  EXPECT_EQ(store_.Counts()->leases, 0);
  gone = false;
  EXPECT_EQ(SubmitAndWait(store_, Caller("a"), Job(1), options)->outcome, Outcome::kGranted);
}

TEST_F(JobStoreTest, AThousandLeasesAreRenewedInOneCall) {
  std::vector<std::string> ids;
  for (int i = 0; i < 1000; ++i) ids.push_back(Submit("a", Job(i)).lease->lease_id);
  clock_.Advance(std::chrono::seconds(20));
  for (const Renewal renewal : store_.Renew(ids)) EXPECT_EQ(renewal, Renewal::kRenewed);
  clock_.Advance(std::chrono::seconds(20));
  EXPECT_EQ(store_.Counts()->leases, 1000);
}

TEST_F(JobStoreTest, AJobThatNobodyHadSentGoesToItsWaiter) {
  const Digest key = store_.Prepare(Job(1))->row.key;
  const auto ear = Await(key, 1);
  EXPECT_EQ(ear->Next().kind, Kind::kOpen);
  ASSERT_EQ(SubmitAndWait(store_, Caller("b"), Job(1), {})->outcome, Outcome::kOpen);
  EXPECT_EQ(ear->End().kind, Kind::kGranted);
}

TEST_F(JobStoreTest, AliasesPointToOneJobUnlessReplaced) {
  const SubmitAnswer a = Submit("a", Job(1)), b = Submit("a", Job(2));
  ASSERT_TRUE(Store(a.key, a.lease, "1").ok());
  ASSERT_TRUE(store_.SetAlias(Caller("a"), {"p", "n"}, a.key, false).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(store_.SetAlias(Caller("a"), {"p", "n"}, b.key, false)));
  const auto found = store_.GetResult("default", AliasKey{"p", "n"});
  ASSERT_TRUE(found.ok()) << found.status();
  EXPECT_EQ((*found)->result.row.record, "1");
  EXPECT_EQ((*found)->key, a.key);
  ASSERT_TRUE(store_.SetAlias(Caller("a"), {"p", "n"}, b.key, true).ok());
  EXPECT_TRUE(absl::IsNotFound(store_.GetResult("default", AliasKey{"p", "n"}).status()));
  ASSERT_TRUE(store_.DeleteAlias("default", {"p", "n"}).ok());
  EXPECT_TRUE(absl::IsNotFound(store_.DeleteAlias("default", {"p", "n"})));
}

}  // namespace
}  // namespace tiffin::server
