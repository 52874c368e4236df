// When leases are renewed. The plan is told the time; the keeper's thread is seen through Run's
// tests.
#include "client/lease_keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "common/npy.h"
#include "common/strings.h"

namespace tiffin {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using Renewal = Client::Renewal;

Lease LeaseOf(const std::string& id, absl::Duration term) { return {.id = id, .term = term}; }

class RenewalPlanTest : public testing::Test {
 protected:
  const RenewalPlan::Time start_{};
  RenewalPlan plan_;
};

TEST_F(RenewalPlanTest, EachLeaseIsDueAtAThirdOfItsOwnTerm) {
  plan_.Add(LeaseOf("slow", absl::Hours(1)), start_);
  plan_.Add(LeaseOf("quick", absl::Seconds(6)), start_ + seconds(1));
  EXPECT_EQ(plan_.NextDue(), start_ + seconds(1 + 2));
  EXPECT_THAT(plan_.Take(start_ + seconds(3)).ids, ElementsAre("quick"));
  EXPECT_EQ(plan_.NextDue(), start_ + seconds(5));
  EXPECT_THAT(plan_.Take(start_ + seconds(1200)).ids, UnorderedElementsAre("slow", "quick"));
}

TEST_F(RenewalPlanTest, ALeaseWithoutATermHasTheServersDefault) {
  plan_.Add(LeaseOf("a", absl::ZeroDuration()), start_);
  EXPECT_EQ(plan_.NextDue(), start_ + seconds(10));
}

TEST_F(RenewalPlanTest, WhatIsDueSoonComesAlong) {
  plan_.Add(LeaseOf("a", absl::Seconds(30)), start_);
  plan_.Add(LeaseOf("b", absl::Seconds(30)), start_ + seconds(2));
  plan_.Add(LeaseOf("c", absl::Seconds(30)), start_ + seconds(3));
  EXPECT_THAT(plan_.Take(start_ + seconds(10)).ids, UnorderedElementsAre("a", "b"));
  EXPECT_EQ(plan_.NextDue(), start_ + seconds(13));
}

TEST_F(RenewalPlanTest, ACallIsGivenUpWellBeforeItsLeasesLapse) {
  plan_.Add(LeaseOf("a", absl::Seconds(30)), start_);
  plan_.Add(LeaseOf("b", absl::Seconds(24)), start_ + seconds(2));
  EXPECT_EQ(plan_.Take(start_ + seconds(10)).timeout, absl::Seconds(4));
}

TEST_F(RenewalPlanTest, ProgressIsToldOnceWithTheNextRenewal) {
  const Digest job = BlobKey("int64", {}, "a job"), other = BlobKey("int64", {}, "another");
  plan_.Add(LeaseOf("a", absl::Seconds(30)), start_, job);
  plan_.Add(LeaseOf("b", absl::Seconds(30)), start_, other);
  plan_.NoteProgress(job);
  const auto now = start_ + seconds(10);
  const RenewalPlan::Batch first = plan_.Take(now), second = plan_.Take(now);
  EXPECT_THAT(first.ids, ElementsAre("a"));
  EXPECT_TRUE(first.progress);
  EXPECT_THAT(second.ids, ElementsAre("b"));
  EXPECT_FALSE(second.progress);
  EXPECT_THAT(plan_.Take(now).ids, IsEmpty());
  EXPECT_FALSE(plan_.Take(now + seconds(10)).progress);
}

TEST_F(RenewalPlanTest, ProgressThatWasNotToldIsToldWithTheNextTry) {
  const Digest job = BlobKey("int64", {}, "a job");
  plan_.Add(LeaseOf("a", absl::Seconds(24)), start_, job);
  plan_.NoteProgress(job);
  plan_.Failed(plan_.Take(start_ + seconds(8)), start_ + seconds(8));
  EXPECT_TRUE(plan_.Take(start_ + seconds(10)).progress);
}

TEST_F(RenewalPlanTest, AFailedCallIsRepeatedSoonNotAPeriodLater) {
  plan_.Add(LeaseOf("a", absl::Seconds(24)), start_);
  const RenewalPlan::Batch batch = plan_.Take(start_ + seconds(8));
  plan_.Failed(batch, start_ + seconds(12));  // after its timeout
  EXPECT_EQ(plan_.NextDue(), start_ + seconds(13));
  EXPECT_THAT(plan_.Take(start_ + seconds(13)).ids, ElementsAre("a"));
}

TEST_F(RenewalPlanTest, LeasesThatEndedAreNotAskedForAgain) {
  for (const char* id : {"a", "b", "c"}) plan_.Add(LeaseOf(id, absl::Seconds(30)), start_);
  const RenewalPlan::Batch batch = plan_.Take(start_ + seconds(10));
  ASSERT_THAT(batch.ids, ElementsAre("a", "b", "c"));
  plan_.Succeeded(batch, {Renewal::kDoneElsewhere, Renewal::kRenewed, Renewal::kLost});
  EXPECT_THAT(plan_.Take(start_ + seconds(20)).ids, ElementsAre("b"));
}

TEST_F(RenewalPlanTest, ALeaseRemovedDuringTheCallStaysRemoved) {
  plan_.Add(LeaseOf("a", absl::Seconds(30)), start_);
  const RenewalPlan::Batch batch = plan_.Take(start_ + seconds(10));
  plan_.Remove("a");
  plan_.Failed(batch, start_ + seconds(11));
  EXPECT_TRUE(plan_.empty());
}

TEST_F(RenewalPlanTest, MoreLeasesThanACallTakesAreTakenOneCallAfterTheOther) {
  for (size_t i = 0; i < kMaxRenewals + 5; ++i) {
    plan_.Add(LeaseOf(std::to_string(i), absl::Seconds(30)), start_);
  }
  const RenewalPlan::Time now = start_ + seconds(10);
  EXPECT_EQ(plan_.Take(now).ids.size(), kMaxRenewals);
  EXPECT_EQ(plan_.NextDue(), now);
  EXPECT_EQ(plan_.Take(now).ids.size(), 5);
  EXPECT_THAT(plan_.Take(now).ids, IsEmpty());
}

TEST(LeaseKeeperTest, RenewsALeaseThatWasAddedWhileItWaitsForAnother) {
  std::mutex mutex;
  std::condition_variable changed;
  int renewed = 0;  // guarded by mutex
  LeaseKeeper keeper([&](const RenewalPlan::Batch& batch) {
    EXPECT_THAT(batch.ids, ::testing::Each(::testing::StartsWith("quick")));
    std::lock_guard lock(mutex);
    ++renewed;
    changed.notify_all();
    return std::vector<Renewal>(batch.ids.size(), Renewal::kDoneElsewhere);
  });
  keeper.Add(LeaseOf("slow", absl::Hours(1)));
  for (int i = 1; i <= 20; ++i) {
    keeper.Add(LeaseOf(StrCat("quick ", i), absl::Milliseconds(3)));
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return renewed == i; });
  }
}

TEST(LeaseKeeperTest, EndsAtOnceWhateverIsDueLater) {
  LeaseKeeper keeper([](const RenewalPlan::Batch&) { return absl::UnavailableError("not asked"); });
  keeper.Add(LeaseOf("slow", absl::Hours(1)));
}

}  // namespace
}  // namespace tiffin
