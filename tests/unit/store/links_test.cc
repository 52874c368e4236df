// Jobs that follow another: a workflow that was stored, and its root.
#include <gtest/gtest.h>

#include "tests/unit/store/store_fixture.h"

namespace tiffin::server {
namespace {

using Outcome = SubmitAnswer::Outcome;
using Kind = WaitEvent::Kind;

class LinksTest : public StoreFixture {
 protected:
  void Link(const SubmitAnswer& job, const SubmitAnswer& target) {
    ASSERT_TRUE(Store(job, Workflow(0)).ok());
    ASSERT_TRUE(store_.Link(Caller("a"), job.key, job.lease->lease_id, target.key).ok());
  }
};

TEST_F(LinksTest, ALinkedJobFollowsItsTarget) {
  const SubmitAnswer job = Submit("a", Job(1)), target = Submit("a", Job(2));
  ASSERT_TRUE(Store(job, Workflow(0)).ok());
  EXPECT_EQ(Submit("b", Job(1)).outcome, Outcome::kAttached) << "unfolding";
  ASSERT_TRUE(store_.Link(Caller("a"), job.key, job.lease->lease_id, target.key).ok());
  const auto ear = Await(job.key, 0);
  ASSERT_TRUE(Store(target, "7").ok());
  const WaitEvent event = ear->End();
  ASSERT_EQ(event.kind, Kind::kResult);
  EXPECT_EQ(event.result->row.record, "7");
  EXPECT_EQ(event.result->linked_to, target.key);
  EXPECT_EQ(Submit("c", Job(1)).outcome, Outcome::kRetrieved);
}

TEST_F(LinksTest, WhenTheTargetIsLostTheWorkflowIsGoneOnWith) {
  const SubmitAnswer job = Submit("a", Job(1)), target = Submit("a", Job(2));
  ASSERT_TRUE(Store(job, Workflow(3)).ok());
  ASSERT_TRUE(store_.Link(Caller("a"), job.key, job.lease->lease_id, target.key).ok());
  ASSERT_TRUE(store_.Release({target.lease->lease_id}).ok());
  const SubmitAnswer again = Submit("b", Job(1));
  ASSERT_EQ(again.outcome, Outcome::kGranted);
  ASSERT_TRUE(again.workflow.has_value());
  EXPECT_NE(again.workflow->row.record.find("\"root\":3"), std::string::npos);
}

TEST_F(LinksTest, LoopsOfLinksAreRefused) {
  const SubmitAnswer a = Submit("a", Job(1)), b = Submit("a", Job(2));
  ASSERT_TRUE(Store(a, Workflow(0)).ok());
  ASSERT_TRUE(Store(b, Workflow(0)).ok());
  ASSERT_TRUE(store_.Link(Caller("a"), a.key, a.lease->lease_id, b.key).ok());
  EXPECT_TRUE(
      absl::IsFailedPrecondition(store_.Link(Caller("a"), b.key, b.lease->lease_id, a.key)));
}

TEST_F(LinksTest, AFailedTargetIsToldAndUnfoldedAgain) {
  const SubmitAnswer job = Submit("a", Job(1)), target = Submit("a", Job(2));
  ASSERT_TRUE(Store(job, Workflow(3)).ok());
  ASSERT_TRUE(store_.Link(Caller("a"), job.key, job.lease->lease_id, target.key).ok());
  const auto ear = Await(job.key, 0);
  ASSERT_TRUE(Store(target, "{}", ResultKind::kError).ok());
  EXPECT_EQ(ear->End().kind, Kind::kFailed);
  const SubmitAnswer again = Submit("b", Job(1));
  ASSERT_EQ(again.outcome, Outcome::kGranted);
  EXPECT_TRUE(again.workflow.has_value());
}

TEST_F(LinksTest, WhatReadsAsDoneKeepsItsValue) {
  const SubmitAnswer target = Submit("a", Job(1)), job = Submit("a", Job(2));
  Link(job, target);
  ASSERT_TRUE(Store(target, "5").ok());
  const auto store_without_lease = [&](const std::string& record) {
    StoreRequest request;
    request.key = job.key;
    request.record = record;
    StoreAnswer stored;
    return StoreAndWait(store_, Caller("b"), request, &stored);
  };
  EXPECT_TRUE(store_without_lease("5").ok());  // it is so
  EXPECT_TRUE(absl::IsAlreadyExists(store_without_lease("999")));
  EXPECT_TRUE(absl::IsAlreadyExists(Store(job, "999")));  // its holder comes late
  EXPECT_EQ((*store_.GetResult("default", job.key))->result.row.record, "5");
  JobFilter nondeterministic;
  nondeterministic.nondeterministic = true;
  EXPECT_EQ(history_.List("default", nondeterministic, 0, false, 10)->jobs.size(), 1u);
}

TEST_F(LinksTest, AValueThatComesBeforeTheTargetsIsTheJobsOwn) {
  const SubmitAnswer target = Submit("a", Job(1)), job = Submit("a", Job(2));
  Link(job, target);
  ASSERT_TRUE(Store(job, "7").ok());
  ASSERT_TRUE(Store(target, "5").ok());
  EXPECT_EQ((*store_.GetResult("default", job.key))->result.row.record, "7");
}

TEST_F(LinksTest, AFailureBehindALinkIsToldToWhoAsksAgain) {
  // The target's lease is older than that of the job which follows it.
  const SubmitAnswer target = Submit("a", Job(1)), job = Submit("a", Job(2));
  ASSERT_LT(target.lease->epoch, job.lease->epoch);
  Link(job, target);
  ASSERT_TRUE(Store(target, "{}", ResultKind::kError).ok());
  // As after a broken stream, which told the epoch of the job's own holder.
  EXPECT_EQ(Await(job.key, 0, job.lease->epoch)->Next().kind, Kind::kFailed);
}

}  // namespace
}  // namespace tiffin::server
