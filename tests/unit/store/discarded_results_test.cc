// Results that are not to be kept: told to who waits, whenever they come, and forgotten.
#include <gtest/gtest.h>

#include "tests/unit/store/store_fixture.h"

namespace tiffin::server {
namespace {

class DiscardedResults : public StoreFixture {
 protected:
  SubmitAnswer SubmitToDiscard(const std::string& host) {
    const auto answer =
        SubmitAndWait(store_, Caller(host), Job(1), {.can_compute = true, .discard_result = true});
    EXPECT_TRUE(answer.ok()) << answer.status();
    return answer.ok() ? *answer : SubmitAnswer();
  }
  bool Kept() { return store_.GetResult("default", key_).ok(); }

  const Digest key_ = store_.Prepare(Job(1))->row.key;
};

TEST_F(DiscardedResults, AreToldToWaitersAndNotKeptEvenIfStoredAgain) {
  const SubmitAnswer first = SubmitToDiscard("a");
  const auto ear = Await(key_, 0);
  ASSERT_TRUE(Store(first, "11").ok());
  EXPECT_EQ(ear->End().result->row.record, "11");
  EXPECT_FALSE(Kept());
  // The answer was lost: the same call again. Whoever waits now hears of it, too.
  const auto later = Await(key_, 0);
  ASSERT_TRUE(Store(first, "11").ok());
  EXPECT_EQ(later->End().result->row.record, "11");
  EXPECT_FALSE(Kept());
}

TEST_F(DiscardedResults, AreNotKeptWhenTheyComeLate) {
  const SubmitAnswer first = SubmitToDiscard("a");
  ASSERT_EQ(*store_.Release({first.lease->lease_id}), 1u);
  ASSERT_TRUE(Store(first, "11").ok());
  EXPECT_FALSE(Kept());
}

TEST_F(DiscardedResults, AreNotKeptFromAWaiterWhoIsGrantedTheJob) {
  const SubmitAnswer first = SubmitToDiscard("a");
  const auto ear = Await(key_, 1);
  ASSERT_EQ(*store_.Release({first.lease->lease_id}), 1u);
  const WaitEvent granted = ear->End();
  ASSERT_EQ(granted.kind, WaitEvent::Kind::kGranted);
  SubmitAnswer second = first;
  second.lease = granted.lease;
  ASSERT_TRUE(Store(second, "11").ok());
  EXPECT_FALSE(Kept());
}

TEST_F(DiscardedResults, AreNotKeptFromAWaiterWhoTookNoLeaseAtFirst) {
  const SubmitOptions open{.can_compute = false, .discard_result = true};
  ASSERT_EQ(SubmitAndWait(store_, Caller("a"), Job(1), open)->outcome,
            SubmitAnswer::Outcome::kOpen);
  const auto ear = Await(key_, 1);
  const WaitEvent granted = ear->End();
  ASSERT_EQ(granted.kind, WaitEvent::Kind::kGranted);
  SubmitAnswer answer;
  answer.key = key_;
  answer.lease = granted.lease;
  ASSERT_TRUE(Store(answer, "11").ok());
  EXPECT_FALSE(Kept());
}

TEST_F(DiscardedResults, AreKeptOfTheNextWhoWantsThemKept) {
  const SubmitAnswer first = SubmitToDiscard("a");
  ASSERT_TRUE(Store(first, "11").ok());
  const SubmitAnswer second = Submit("b", Job(1));
  ASSERT_EQ(second.outcome, SubmitAnswer::Outcome::kGranted);
  ASSERT_TRUE(Store(second, "22").ok());
  EXPECT_TRUE(Kept());
  // What the first holder sends once more is another value now.
  EXPECT_EQ(Store(first, "11").code(), absl::StatusCode::kAlreadyExists);
}

TEST_F(DiscardedResults, AValueWithoutALeaseIsKept) {
  const SubmitAnswer first = SubmitToDiscard("a");
  ASSERT_TRUE(Store(first, "11").ok());
  StoreRequest request;
  request.key = key_;
  request.record = "33";
  StoreAnswer stored;
  ASSERT_TRUE(StoreAndWait(store_, Caller("c"), request, &stored).ok());
  EXPECT_TRUE(Kept());
}

}  // namespace
}  // namespace tiffin::server
