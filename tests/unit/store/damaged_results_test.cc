// Results whose rows differ from their checksums: misses for all who ask, healed by the next store.
#include <gtest/gtest.h>

#include "server/store/verifier.h"
#include "tests/unit/store/store_fixture.h"

namespace tiffin::server {
namespace {

using Outcome = SubmitAnswer::Outcome;
using Kind = WaitEvent::Kind;

class DamagedResults : public StoreFixture {
 protected:
  // As if the row's bytes had changed since.
  void Damage(const Digest& key) {
    const RowId job = RowOf(key);
    ASSERT_TRUE(database_
                    ->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
                      const auto row = tx.FindResult(job);
                      EXPECT_TRUE(row.ok() && *row);
                      ResultRow damaged = **row;
                      damaged.record = "\"wrong\"";
                      damaged.damaged = true;
                      return tx.PutResult(damaged);
                    })
                    .ok());
  }
  void ExpectMiss(const Digest& key) {
    const auto found = store_.GetResult("default", key);
    EXPECT_EQ(found.status().code(), absl::StatusCode::kNotFound) << found.status();
    EXPECT_NE(found.status().message().find("damaged"), std::string::npos) << found.status();
  }
  void ExpectHit(const Digest& key, const std::string& record) {
    const auto found = store_.GetResult("default", key);
    ASSERT_TRUE(found.ok()) << found.status();
    EXPECT_EQ((*found)->result.row.record, record);
  }
};

TEST_F(DamagedResults, AReaderMissesAndTheNextStoreHeals) {
  const Digest key = Done(Job(1), "11");
  const Digest other = Done(Job(2), "22");
  Damage(key);
  ExpectMiss(key);
  ExpectMiss(key);
  ExpectHit(other, "22");
  const auto why = history_.Explain("default", key, "", 0);
  ASSERT_TRUE(why.ok()) << why.status();
  EXPECT_EQ(why->cause, MissCause::kDamaged);
  EXPECT_EQ(store_.counters().damaged, 1);
  const SubmitAnswer again = Submit("b", Job(1));
  ASSERT_EQ(again.outcome, Outcome::kGranted);
  ASSERT_TRUE(Store(again, "11").ok());
  ExpectHit(key, "11");
}

TEST_F(DamagedResults, SubmitIsGranted) {
  const Digest key = Done(Job(1), "11");
  Damage(key);
  const SubmitAnswer again = Submit("b", Job(1));
  EXPECT_EQ(again.key, key);
  EXPECT_EQ(again.outcome, Outcome::kGranted);
}

TEST_F(DamagedResults, StoringItHealsBeforeAnybodyLooked) {
  const SubmitAnswer first = Submit("a", Job(1));
  ASSERT_TRUE(Store(first, "11").ok());
  Damage(first.key);
  // The same call again, as after an answer that was lost.
  ASSERT_TRUE(Store(first, "11").ok());
  ExpectHit(first.key, "11");
}

TEST_F(DamagedResults, AWaiterIsGranted) {
  const Digest key = Done(Job(1), "11");
  Damage(key);
  const auto ear = Await(key, 1);
  EXPECT_EQ(ear->End().kind, Kind::kGranted);
}

TEST_F(DamagedResults, AWorkflowIsNotGoneOnWith) {
  const SubmitAnswer first = Submit("a", Job(1));
  ASSERT_TRUE(Store(first, R"({"_noodles": "0.3.0", "type": "<object>", "class": )"
                           R"("noodles.workflow.model.Workflow", "data": {"root": 1, "nodes": [], )"
                           R"("links": []}})")
                  .ok());
  ASSERT_TRUE(*store_.Release({first.lease->lease_id}) == 1);
  Damage(first.key);
  const SubmitAnswer again = Submit("b", Job(1));
  EXPECT_EQ(again.outcome, Outcome::kGranted);
  EXPECT_FALSE(again.workflow);
}

TEST_F(DamagedResults, AnErrorIsNotAnswered) {
  const SubmitAnswer first = Submit("a", Job(1));
  ASSERT_TRUE(Store(first, R"({"error": "x"})", ResultKind::kError).ok());
  Damage(first.key);
  const auto again = SubmitAndWait(store_, Caller("b"), Job(1),
                                   {.can_compute = true, .answer_failures = absl::Hours(1)});
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->outcome, Outcome::kGranted);
}

TEST_F(DamagedResults, ListsGoOn) {
  const Digest key = Done(Job(1), "11");
  Done(Job(2), "22");
  Damage(key);
  const auto page = history_.List("default", {}, 0, false, 10);
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->jobs.size(), 2);
  EXPECT_FALSE(page->jobs[0].result);
  EXPECT_TRUE(page->jobs[1].result);
  ExpectMiss(key);
}

TEST_F(DamagedResults, VerifyNamesThem) {
  const Digest key = Done(Job(1), "11");
  const Digest other = Done(Job(2), "22");
  Damage(key);
  Verifier verifier(database_.get(), bytes_.get(), &blobs_, &store_, &clock_);
  const auto verify = [&] {
    std::vector<Digest> found;
    VerifyProgress last;
    EXPECT_TRUE(verifier
                    .Run({},
                         [&](VerifyProgress progress) {
                           found.insert(found.end(), progress.found_results.begin(),
                                        progress.found_results.end());
                           last = std::move(progress);
                           return true;
                         })
                    .ok());
    EXPECT_EQ(last.damaged_results, found.size());
    return std::pair(last.results, found);
  };
  EXPECT_EQ(verify(), std::pair(uint64_t{2}, std::vector<Digest>{key}));
  EXPECT_EQ(verify(), std::pair(uint64_t{1}, std::vector<Digest>{}));
  ExpectMiss(key);
  ExpectHit(other, "22");
}

// ---- rows of jobs
// ---------------------------------------------------------------------------------

class DamagedJobs : public DamagedResults {
 protected:
  DamagedJobs() : verifier_(database_.get(), bytes_.get(), &blobs_, &store_, &clock_) {
    damaged_ = Done(Job(1), "11");
    sound_ = Done(Job(2), "22");
    EXPECT_TRUE(database_
                    ->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
                      TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> row,
                                              tx.FindJob(RowOf(damaged_)));
                      row->damaged = true;
                      return tx.UpdateJob(*row);
                    })
                    .ok());
  }

  Digest damaged_, sound_;
  Verifier verifier_;
};

TEST_F(DamagedJobs, WhoeverAsksForOneIsTold) {
  const absl::Status status = history_.Get("default", damaged_, false, false).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_NE(status.message().find("--rebuild"), std::string::npos) << status;
  ExpectHit(sound_, "22");
}

TEST_F(DamagedJobs, AValueThatIsSoundAndKnownToBeTheJobsIsAHitAllTheSame) {
  ExpectHit(damaged_, "11");
  EXPECT_EQ(Submit("b", Job(1)).outcome, SubmitAnswer::Outcome::kRetrieved);
}

TEST_F(DamagedJobs, ListsGoOnWithoutThem) {
  const auto page = history_.List("default", {}, 0, false, 10);
  ASSERT_TRUE(page.ok()) << page.status();
  ASSERT_EQ(page->jobs.size(), 1u);
  EXPECT_EQ(page->jobs[0].row.key, sound_);
}

TEST_F(DamagedJobs, VerifyNamesThemEachTime) {
  for (int i = 0; i < 2; ++i) {
    std::vector<std::pair<RowId, Digest>> found;
    VerifyProgress last;
    ASSERT_TRUE(verifier_
                    .Run({},
                         [&](VerifyProgress progress) {
                           for (const DamagedJob& job : progress.found_jobs)
                             found.emplace_back(job.row, job.key);
                           last = std::move(progress);
                           return true;
                         })
                    .ok());
    EXPECT_EQ(last.jobs, 2u);
    EXPECT_EQ(last.damaged_jobs, 1u);
    ASSERT_EQ(found.size(), 1u);
    EXPECT_EQ(found[0].second, damaged_);
  }
}

}  // namespace
}  // namespace tiffin::server
