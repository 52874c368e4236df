// What the store remembers of jobs: provenance, lists, causes of a miss, invalidation.
#include "server/store/job_history.h"

#include <set>

#include "tests/unit/store/store_fixture.h"

namespace tiffin::server {
namespace {

class JobHistoryTest : public StoreFixture {
 protected:
  Explanation Explain(const std::string& job) {
    auto why = history_.Explain("default", std::nullopt, job, 5);
    EXPECT_TRUE(why.ok()) << why.status();
    return why.ok() ? *std::move(why) : Explanation();
  }
  size_t Invalidate(std::vector<Digest> keys, bool cascade = false, bool dry_run = false) {
    const auto done = history_.Invalidate("default", {std::move(keys), {}, cascade}, dry_run);
    EXPECT_TRUE(done.ok()) << done.status();
    return done.ok() ? done->jobs : 0;
  }
  static std::string Solve(int n, const std::string& tol, const std::string& more = "") {
    return StrCat(R"({"function": "solve", "arguments": ["grid", )", n, R"(, {"max": 10, "tol": )",
                  tol, "}]", more, "}");
  }
  // A record of bytes that leave it as a blob.
  static std::string Bulk(char c) {
    std::string base64;
    for (int i = 0; i < 3000; ++i) base64 += std::string("AAA") + c;
    return StrCat(R"({"_noodles":"0.3.0","type":"<object>","class":"builtins.bytes","data":")",
                  base64, R"("})");
  }
};

TEST_F(JobHistoryTest, OfAThousandNeighboursTheOneThatDiffersInTolComesFirstWithThatPathAlone) {
  for (int i = 0; i < 500; ++i) Done(Solve(i, StrCat("1.", 1000 + i)));
  const Digest near = Done(Solve(5000, "0.5"));
  for (int i = 500; i < 999; ++i) Done(Solve(i, StrCat("1.", 1000 + i)));
  const Explanation why = Explain(Solve(5000, "0.25"));
  EXPECT_EQ(why.cause, MissCause::kOtherArguments);
  ASSERT_GT(why.neighbours.size(), 1u);
  EXPECT_EQ(why.neighbours[0].row.key, near);
  EXPECT_EQ(why.neighbours[0].paths, std::vector<std::string>{"arguments[2].tol"});
  EXPECT_GT(why.neighbours[1].paths.size(), 1u);
}

TEST_F(JobHistoryTest, OfTwoThatDifferInOnePlaceBothAreTold) {
  const Digest one = Done(Solve(5000, "0.5")), other = Done(Solve(5001, "0.25"));
  std::set<std::pair<Digest, std::string>> told;
  for (const Neighbour& each : Explain(Solve(5000, "0.25")).neighbours) {
    ASSERT_EQ(each.paths.size(), 1u);
    told.emplace(each.row.key, each.paths[0]);
  }
  EXPECT_EQ(told, (std::set<std::pair<Digest, std::string>>{{one, "arguments[2].tol"},
                                                            {other, "arguments[1]"}}));
}

TEST_F(JobHistoryTest, APartThatDiffersIsACauseThoughTheOthersFillTheListOfPaths) {
  const auto many = [](int first) {
    std::string items;
    for (int i = 0; i < 30; ++i) items += StrCat(i == 0 ? "" : ", ", first + i);
    return items;
  };
  const auto solve = [&](int first, const std::string& version) {
    return StrCat(R"({"function": "wide", "arguments": [)", many(first), R"(], "version": ")",
                  version, R"("})");
  };
  Done(solve(0, "1"));
  const Explanation other = Explain(solve(100, "1"));
  EXPECT_EQ(other.cause, MissCause::kOtherArguments);
  EXPECT_EQ(other.neighbours[0].paths.size(), 20u) << "as many as are told";
  const Explanation both = Explain(solve(100, "2"));
  EXPECT_EQ(both.cause, MissCause::kNeverSeen);
  EXPECT_EQ(both.text, "never computed here; the nearest job differs in more than one part");
}

TEST_F(JobHistoryTest, EachCauseOfAMissIsTold) {
  EXPECT_EQ(Explain(Job(1)).cause, MissCause::kNeverSeen);
  ASSERT_TRUE(SubmitAndWait(store_, Caller("a"), Job(1), {}).ok());
  EXPECT_EQ(Explain(Job(1)).cause, MissCause::kNeverComputed);
  const SubmitAnswer answer = Submit("a", Job(1));
  EXPECT_EQ(Explain(Job(1)).cause, MissCause::kLeased);
  ASSERT_TRUE(Store(answer, "{}", ResultKind::kError).ok());
  EXPECT_EQ(Explain(Job(1)).cause, MissCause::kFailed);
  const RowId row = RowOf(Done(Job(1)));
  EXPECT_EQ(Explain(Job(1)).cause, MissCause::kNone);
  EXPECT_EQ(*store_.Withdraw({row}, Tombstone::kInvalidated), 1u);
  EXPECT_EQ(Explain(Job(1)).cause, MissCause::kInvalidated);
  Done(Job(1));
  EXPECT_EQ(*store_.Withdraw({row}, Tombstone::kEvicted), 1u);
  EXPECT_EQ(Explain(Job(1)).cause, MissCause::kEvicted);
  Done(Job(1));
  EXPECT_EQ(*store_.Withdraw({row}, Tombstone::kDamaged), 1u);
  EXPECT_EQ(Explain(Job(1)).cause, MissCause::kDamaged);
  Done(Job(1));
  EXPECT_EQ(Explain(Job(1)).cause, MissCause::kNone) << "the next store heals it";
}

TEST_F(JobHistoryTest, AJobThatWasOnlyAskedForIsExplainedByItsNeighbours) {
  const Digest near = Done(Solve(5000, "0.5"));
  ASSERT_TRUE(SubmitAndWait(store_, Caller("a"), Solve(5000, "0.25"), {}).ok());
  const Explanation why = Explain(Solve(5000, "0.25"));
  EXPECT_EQ(why.cause, MissCause::kOtherArguments);
  ASSERT_EQ(why.neighbours.size(), 1u);
  EXPECT_EQ(why.neighbours[0].row.key, near);
  const auto by_key = history_.Explain("default", why.key, "", 5);
  ASSERT_TRUE(by_key.ok()) << by_key.status();
  EXPECT_EQ(by_key->neighbours.size(), 1u);
}

TEST_F(JobHistoryTest, AJobWhoseLinkLeadsToNoResultIsNoNeighbour) {
  const SubmitAnswer target = Submit("a", Job(1)), linked = Submit("a", Solve(5000, "0.5"));
  ASSERT_TRUE(Store(linked, Workflow(0)).ok());
  ASSERT_TRUE(store_.Link(Caller("a"), linked.key, linked.lease->lease_id, target.key).ok());
  EXPECT_TRUE(Explain(Solve(5000, "0.25")).neighbours.empty());
  ASSERT_TRUE(Store(target, "1").ok());
  EXPECT_EQ(Explain(Solve(5000, "0.25")).neighbours.size(), 1u);
}

TEST_F(JobHistoryTest, WhoWaitsForAJobThatFollowsAnotherWaitsForThatToo) {
  const SubmitAnswer target = Submit("a", Job(1)), linked = Submit("a", Job(2));
  ASSERT_TRUE(Store(linked, Workflow(0)).ok());
  ASSERT_TRUE(store_.Link(Caller("a"), linked.key, linked.lease->lease_id, target.key).ok());
  const auto one = Await(target.key, 0), other = Await(linked.key, 0);
  EXPECT_EQ(one->Next().kind, WaitEvent::Kind::kAttached);
  EXPECT_EQ(other->Next().kind, WaitEvent::Kind::kAttached);
  EXPECT_EQ(history_.Get("default", target.key, false, false)->waiting, 2u);
  EXPECT_EQ(history_.Get("default", target.key, false, false)->waiters.size(), 2u);
  EXPECT_EQ(history_.Get("default", linked.key, false, false)->waiting, 1u);
}

TEST_F(JobHistoryTest, AnotherVersionSaltOrArgumentIsNamed) {
  Done(Solve(1, "0.5", R"(, "version": "1", "salt": "x")"));
  EXPECT_EQ(Explain(Solve(1, "0.5", R"(, "version": "2", "salt": "x")")).cause,
            MissCause::kOtherVersion);
  EXPECT_EQ(Explain(Solve(1, "0.5", R"(, "version": "1")")).cause, MissCause::kOtherSalt);
  EXPECT_EQ(Explain(Solve(2, "0.5", R"(, "version": "1", "salt": "x")")).cause,
            MissCause::kOtherArguments);
  EXPECT_EQ(Explain(Solve(2, "0.5", R"(, "version": "2", "salt": "x")")).cause,
            MissCause::kNeverSeen);
}

TEST_F(JobHistoryTest, ProvenanceGoesBothWays) {
  const Digest maker = Done(Job(1), Bulk('B'));
  const Digest user = Done(StrCat(R"({"function": "g", "arguments": [)", Bulk('B'), "]}"), "2");
  const auto made = history_.Get("default", maker, true, true);
  ASSERT_TRUE(made.ok());
  EXPECT_EQ(made->made.size(), 1u);
  ASSERT_EQ(made->outputs.size(), 1u);
  EXPECT_EQ(made->outputs[0].key, user);
  const auto used = history_.Get("default", user, true, true);
  ASSERT_TRUE(used.ok());
  ASSERT_EQ(used->inputs.size(), 1u);
  EXPECT_EQ(used->inputs[0].key, maker);
  EXPECT_EQ(used->submitter->host, "a");
}

TEST_F(JobHistoryTest, ProvenanceGoesIntoValues) {
  const Digest maker = Done(Job(1), Bulk('E'));
  // The bytes are in a value that leaves the record.
  const std::string value =
      StrCat(R"({"_noodles":"0.3.0","type":"<automagic>","class":"m.W","ref":true,"data":)",
             Bulk('E'), "}");
  const Digest user = Done(StrCat(R"({"function": "g", "arguments": [)", value, "]}"), "2");
  const Digest passing = Done(Job(2), value);
  const auto made = history_.Get("default", maker, true, true);
  const auto used = history_.Get("default", user, true, true);
  ASSERT_TRUE(made.ok() && used.ok());
  std::set<Digest> outputs, inputs;
  for (const RelatedJob& job : made->outputs) outputs.insert(job.key);
  for (const RelatedJob& job : used->inputs) inputs.insert(job.key);
  EXPECT_TRUE(outputs.contains(user));
  EXPECT_EQ(inputs, (std::set<Digest>{maker, passing}));
  EXPECT_EQ(Invalidate({maker}, true, true), 2u);
}

TEST_F(JobHistoryTest, InvalidateCascadesAlongBlobsAndADryRunChangesNothing) {
  const Digest maker = Done(Job(1), Bulk('C'));
  const Digest user =
      Done(StrCat(R"({"function": "g", "arguments": [)", Bulk('C'), "]}"), Bulk('D'));
  const Digest last = Done(StrCat(R"({"function": "h", "arguments": [)", Bulk('D'), "]}"), "3");
  EXPECT_EQ(Invalidate({maker}, true, true), 3u);
  EXPECT_TRUE(store_.GetResult("default", last).ok());
  EXPECT_EQ(Invalidate({maker}, false), 1u);
  EXPECT_TRUE(absl::IsNotFound(store_.GetResult("default", maker).status()));
  EXPECT_TRUE(store_.GetResult("default", user).ok());
  Done(Job(1), Bulk('C'));
  EXPECT_EQ(Invalidate({maker}, true), 3u);
  EXPECT_TRUE(absl::IsNotFound(store_.GetResult("default", last).status()));
  EXPECT_EQ(Invalidate({maker}, true), 0u);
}

TEST_F(JobHistoryTest, InvalidateRevokesTheLeaseAndRefusesItsValue) {
  const SubmitAnswer answer = Submit("a", Job(1));
  EXPECT_EQ(Invalidate({answer.key}), 1u);
  EXPECT_EQ(store_.Renew({&answer.lease->lease_id, 1})[0], Renewal::kLost);
  EXPECT_TRUE(absl::IsFailedPrecondition(Store(answer, "1")));
}

TEST_F(JobHistoryTest, InvalidateTakesFunctionVersionSessionOrAge) {
  Done(R"({"function": "f", "arguments": [1], "version": "1"})");
  Done(R"({"function": "f", "arguments": [1], "version": "2"})");
  Done(R"({"function": "g", "arguments": [1]})");
  const absl::Time then = clock_.Now();
  clock_.Advance(std::chrono::seconds(100));
  Done(R"({"function": "h", "arguments": [1]})");
  const auto count = [&](JobFilter filter) {
    return history_.Invalidate("default", {{}, std::move(filter), false}, true)->jobs;
  };
  EXPECT_EQ(count({.function = "f"}), 2u);
  EXPECT_EQ(count({.function = "f", .version = "2"}), 1u);
  EXPECT_EQ(count({.version = ""}), 2u);
  EXPECT_EQ(count({.session = "session-a"}), 4u);
  EXPECT_EQ(count({.session = "other"}), 0u);
  EXPECT_EQ(count({.stored_before = then + absl::Seconds(1)}), 3u);
  EXPECT_FALSE(history_.Invalidate("default", {}, true).ok()) << "not everything by mistake";
  JobFilter version;
  version.version = "1";
  EXPECT_EQ(history_.Invalidate("default", {{Digest()}, version, false}, true).status().code(),
            absl::StatusCode::kInvalidArgument)
      << "nor more than was meant";
}

TEST_F(JobHistoryTest, PagesAreStableWhileJobsAreSubmitted) {
  std::vector<Digest> all;
  for (int i = 0; i < 25; ++i) all.push_back(Done(Job(i)));
  for (const bool newest : {false, true}) {
    std::vector<Digest> seen;
    RowId after = 0;
    do {
      const auto page = history_.List("default", {}, after, newest, 4);
      ASSERT_TRUE(page.ok());
      for (const JobView& job : page->jobs) seen.push_back(job.row.key);
      after = page->next;
      if (newest) Submit("b", Job(1000 + static_cast<int>(seen.size())));
    } while (after != 0);
    std::vector<Digest> wanted = all;
    if (newest) std::reverse(wanted.begin(), wanted.end());
    EXPECT_EQ(seen, wanted);
  }
}

TEST_F(JobHistoryTest, ListsFindTheLeasedTheFailedAndTheNondeterministic) {
  const Digest done = Done(Job(1));
  const SubmitAnswer held = Submit("b", Job(2)), failed = Submit("a", Job(3));
  ASSERT_TRUE(Store(failed, "{}", ResultKind::kError).ok());
  StoreRequest other{.key = done, .record = "2"};
  StoreAnswer stored;
  EXPECT_TRUE(absl::IsAlreadyExists(StoreAndWait(store_, Caller("c"), other, &stored)));
  const auto only = [&](const JobFilter& filter) {
    const auto page = history_.List("default", filter, 0, true, 10);
    EXPECT_EQ(page->jobs.size(), 1u);
    return page->jobs.empty() ? JobView() : page->jobs[0];
  };
  const JobView leased = only({.leased = true});
  EXPECT_EQ(leased.row.key, held.key);
  EXPECT_EQ(leased.holder->session.host, "b");
  EXPECT_EQ(only({.states = {JobState::kFailed}}).row.key, failed.key);
  EXPECT_EQ(only({.host = "b"}).row.key, held.key);
  const JobView odd = only({.nondeterministic = true});
  EXPECT_EQ(odd.row.key, done);
  ASSERT_EQ(odd.evidence.size(), 1u);
  EXPECT_EQ(odd.evidence[0].session.host, "c");
}

TEST_F(JobHistoryTest, HitsAreCounted) {
  const Digest key = Done(Job(1));
  for (int i = 0; i < 5; ++i) EXPECT_TRUE(store_.GetResult("default", key).ok());
  EXPECT_EQ(history_.Get("default", key, false, false)->hits.hits, 5);
  clock_.Advance(std::chrono::seconds(60));
  EXPECT_TRUE(store_.GetResult("default", key).ok());  // they are written now
  EXPECT_TRUE(database_->WriteAndWait([](JobTransaction&) { return absl::OkStatus(); }).ok());
  EXPECT_FALSE(store_.RecentHits(RowOf(key)).has_value());
  EXPECT_EQ(history_.Get("default", key, false, false)->hits.hits, 6);
}

TEST_F(JobHistoryTest, WhatIsCachedGoesWithTheResult) {
  const SubmitAnswer job = Submit("a", Job(1)), target = Submit("a", Job(2));
  const std::string workflow =
      R"({"_noodles":"0.3.0","type":"<object>","class":"noodles.workflow.model.Workflow",)"
      R"("data":{"root":0,"nodes":[],"links":[]}})";
  ASSERT_TRUE(Store(job, workflow).ok());
  ASSERT_TRUE(store_.Link(Caller("a"), job.key, job.lease->lease_id, target.key).ok());
  ASSERT_TRUE(Store(target, "7").ok());
  ASSERT_TRUE(store_.GetResult("default", job.key).ok());
  ASSERT_TRUE(store_.FindHot("default", job.key));
  ASSERT_TRUE(store_.GetResult("default", target.key).ok());
  EXPECT_EQ(Invalidate({target.key}), 1u);
  EXPECT_FALSE(store_.FindHot("default", target.key));
  EXPECT_FALSE(store_.FindHot("default", job.key)) << "it followed what is gone";
}

}  // namespace
}  // namespace tiffin::server
