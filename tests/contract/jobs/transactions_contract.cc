// What holds across operations: order, undoing, snapshots, closing.
#include <atomic>
#include <stdexcept>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/contract/jobs/job_database_contract.h"

namespace tiffin::server {
namespace {

RowId AddJob(JobTransaction& tx, uint64_t n) {
  return Must(tx.InsertJob(TestJob(Must(tx.EnsureNamespace("a")), n)));
}

TEST_P(JobTransactions, AnErrorUndoesItsOperationAndNoOther) {
  HeldWriter held(database());
  auto first = WriteLater(database(), [](JobTransaction& tx) {
    AddJob(tx, 1);
    return absl::OkStatus();
  });
  auto second = WriteLater(database(), [](JobTransaction& tx) {
    AddJob(tx, 2);
    Must(tx.PutPack({"pack", PackState::kOpen}));
    return absl::AbortedError("changed its mind");
  });
  auto third = WriteLater(database(), [](JobTransaction& tx) {
    EXPECT_FALSE(Must(tx.FindPack("pack")));
    AddJob(tx, 3);
    return absl::OkStatus();
  });
  held.Release();

  EXPECT_TRUE(first.get().ok());
  EXPECT_EQ(second.get(), absl::AbortedError("changed its mind"));
  EXPECT_TRUE(third.get().ok());
  Look([](JobReader& reader) {
    const RowId space = Must(reader.FindNamespace("a"));
    EXPECT_TRUE(Must(reader.FindJob(space, TestDigest(1))));
    EXPECT_FALSE(Must(reader.FindJob(space, TestDigest(2))));
    EXPECT_TRUE(Must(reader.FindJob(space, TestDigest(3))));
    EXPECT_FALSE(Must(reader.FindPack("pack")));
  });
  EXPECT_EQ(Counts().jobs, 2);
}

TEST_P(JobTransactions, AnExceptionUndoesItsOperation) {
  const absl::Status known = database().WriteAndWait([](JobTransaction& tx) -> absl::Status {
    AddJob(tx, 1);
    throw std::runtime_error("out of luck");
  });
  EXPECT_EQ(known.code(), absl::StatusCode::kInternal);
  EXPECT_NE(known.message().find("out of luck"), absl::string_view::npos) << known;
  const absl::Status unknown = database().WriteAndWait([](JobTransaction& tx) -> absl::Status {
    AddJob(tx, 2);
    throw 7;
  });
  EXPECT_EQ(unknown.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Text(Counts()), Text(DatabaseCounts()));
}

TEST_P(JobTransactions, AFailedChangeLosesTheOperationWhateverItReturns) {
  const absl::Status status = database().WriteAndWait([](JobTransaction& tx) {
    AddJob(tx, 1);
    EXPECT_FALSE(tx.MoveBlob(99, "pack:1", "").ok());
    return absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
  EXPECT_EQ(Counts().jobs, 0);
}

TEST_P(JobTransactions, AnEpochThatWasUndoneWasGivenToNobody) {
  Write([](JobTransaction& tx) { EXPECT_EQ(Must(tx.NextEpoch()), 1); });
  EXPECT_FALSE(database()
                   .WriteAndWait([](JobTransaction& tx) {
                     EXPECT_EQ(Must(tx.NextEpoch()), 2);
                     return absl::AbortedError("");
                   })
                   .ok());
  Write([](JobTransaction& tx) { EXPECT_EQ(Must(tx.NextEpoch()), 2); });
}

TEST_P(JobTransactions, DoneIsCalledInOrderAndNeverInsideAnOperation) {
  constexpr int kOps = 1500;  // more than one batch
  std::vector<int> order;     // the writer's
  bool inside = false;        // the writer's
  auto last = std::make_shared<std::promise<void>>();
  for (int i = 0; i < kOps; ++i) {
    database().Write({.apply =
                          [&inside, i](JobTransaction&) {
                            inside = true;
                            const absl::Status fate =
                                i % 7 == 0 ? absl::AbortedError("") : absl::OkStatus();
                            inside = false;
                            return fate;
                          },
                      .done =
                          [&, i, last](const absl::Status& status) {
                            EXPECT_FALSE(inside);
                            EXPECT_EQ(status.ok(), i % 7 != 0) << i;
                            order.push_back(i);
                            if (i == kOps - 1) last->set_value();
                          }});
  }
  last->get_future().wait();
  ASSERT_EQ(order.size(), static_cast<size_t>(kOps));
  for (int i = 0; i < kOps; ++i) ASSERT_EQ(order[static_cast<size_t>(i)], i);
}

TEST_P(JobTransactions, OperationsRunOnOneThread) {
  std::vector<std::thread::id> threads;
  for (int i = 0; i < 3; ++i) {
    Write([&](JobTransaction&) { threads.push_back(std::this_thread::get_id()); });
  }
  EXPECT_EQ(threads[0], threads[1]);
  EXPECT_EQ(threads[1], threads[2]);
  EXPECT_NE(threads[0], std::this_thread::get_id());
}

TEST_P(JobTransactions, DoneMayWriteAgain) {
  auto second = std::make_shared<std::promise<absl::Status>>();
  database().Write(
      {.apply = [](JobTransaction&) { return absl::OkStatus(); },
       .done =
           [&, second](const absl::Status&) {
             database().Write(
                 {.apply =
                      [](JobTransaction& tx) {
                        AddJob(tx, 1);
                        return absl::OkStatus();
                      },
                  .done = [second](const absl::Status& status) { second->set_value(status); }});
           }});
  EXPECT_TRUE(second->get_future().get().ok());
  EXPECT_EQ(Counts().jobs, 1);
}

TEST_P(JobTransactions, WhenDoneIsCalledEverybodySeesTheChange) {
  auto seen = std::make_shared<std::promise<int64_t>>();
  database().Write({.apply =
                        [](JobTransaction& tx) {
                          AddJob(tx, 1);
                          return absl::OkStatus();
                        },
                    .done = [&, seen](const absl::Status&) { seen->set_value(Counts().jobs); }});
  EXPECT_EQ(seen->get_future().get(), 1);
}

TEST_P(JobTransactions, AReadDoesNotWaitForTheWriterAndSeesNothingUncommitted) {
  Write([](JobTransaction& tx) { AddJob(tx, 1); });
  Door inside;
  Door leave;
  auto written = WriteLater(database(), [&](JobTransaction& tx) {
    AddJob(tx, 2);
    inside.Open();
    leave.Wait();
    return absl::OkStatus();
  });
  inside.Wait();
  // The writer cannot go on before these are answered.
  Look([](JobReader& reader) {
    const RowId space = Must(reader.FindNamespace("a"));
    EXPECT_TRUE(Must(reader.FindJob(space, TestDigest(1))));
    EXPECT_FALSE(Must(reader.FindJob(space, TestDigest(2))));
    EXPECT_EQ(Must(reader.Counts()).jobs, 1);
  });
  leave.Open();
  EXPECT_TRUE(written.get().ok());
  EXPECT_EQ(Counts().jobs, 2);
}

TEST_P(JobTransactions, AReadKeepsItsSnapshotWhileOthersCommit) {
  Write([](JobTransaction& tx) { AddJob(tx, 1); });
  Look([&](JobReader& reader) {
    const RowId space = Must(reader.FindNamespace("a"));
    for (uint64_t n = 2; n < 5; ++n) {
      Write([n](JobTransaction& tx) { AddJob(tx, n); });
      EXPECT_EQ(Counts().jobs, static_cast<int64_t>(n));  // of another read
      EXPECT_EQ(Must(reader.Counts()).jobs, 1);
      EXPECT_FALSE(Must(reader.FindJob(space, TestDigest(n))));
    }
  });
}

TEST_P(JobTransactions, ReadGivesBackTheErrorOfItsLookUp) {
  EXPECT_EQ(database().Read([](JobReader&) { return absl::AbortedError("no"); }),
            absl::AbortedError("no"));
  EXPECT_EQ(database().Read([](JobReader&) -> absl::Status { throw 7; }).code(),
            absl::StatusCode::kInternal);
  EXPECT_EQ(Counts().jobs, 0);  // and it can be read again
}

TEST_P(JobTransactions, ManyThreadsWriteAndRead) {
  constexpr int kThreads = 8;
  constexpr int kEach = 60;
  std::atomic<int> failed = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kEach; ++i) {
        const uint64_t n = static_cast<uint64_t>(t * kEach + i);
        const absl::Status written = database().WriteAndWait([&](JobTransaction& tx) {
          JobRow job = TestJob(Must(tx.EnsureNamespace("a")), n);
          job.epoch = Must(tx.NextEpoch());
          return tx.InsertJob(job).status();
        });
        const absl::Status read = database().Read([&](JobReader& reader) -> absl::Status {
          const RowId space = Must(reader.FindNamespace("a"));
          const std::optional<JobRow> job = Must(reader.FindJob(space, TestDigest(n)));
          return job ? absl::OkStatus() : absl::NotFoundError("not seen");
        });
        if (!written.ok() || !read.ok()) ++failed;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed, 0);
  EXPECT_EQ(Counts().jobs, kThreads * kEach);
  std::vector<bool> epochs(kThreads * kEach + 1);
  Look([&](JobReader& reader) {
    for (RowId id = 1; id <= kThreads * kEach; ++id) {
      const int64_t epoch = Must(reader.FindJob(id))->epoch;
      EXPECT_FALSE(epochs[static_cast<size_t>(epoch)]) << epoch;
      epochs[static_cast<size_t>(epoch)] = true;
    }
  });
}

TEST_P(JobTransactions, CloseFinishesWhatIsQueued) {
  HeldWriter held(database());
  std::vector<std::future<absl::Status>> fates;
  for (uint64_t n = 0; n < 20; ++n) {
    fates.push_back(WriteLater(database(), [n](JobTransaction& tx) {
      AddJob(tx, n);
      return absl::OkStatus();
    }));
  }
  held.Release();
  database().Close();
  for (auto& fate : fates) EXPECT_TRUE(fate.get().ok());
  EXPECT_EQ(Counts().jobs, 20);  // reads go on
}

TEST_P(JobTransactions, AfterCloseWritesAreUnavailable) {
  database().Close();
  database().Close();
  const absl::Status status = database().WriteAndWait([](JobTransaction&) {
    ADD_FAILURE() << "ran";
    return absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
}

TEST_P(JobTransactions, AfterOpeningAgainEverythingAcknowledgedIsThere) {
  if (!Keeps()) GTEST_SKIP() << "keeps nothing";
  Write([](JobTransaction& tx) {
    const RowId job = AddJob(tx, 1);
    Must(tx.PutResult(TestResult(job, 1)));
    Must(tx.PutLease(TestLease(job, 1)));
    Must(tx.PutPack({"pack", PackState::kOpen}));
    EXPECT_EQ(Must(tx.NextEpoch()), 1);
  });
  const DatabaseCounts before = Counts();
  Reopen();
  EXPECT_EQ(Text(Counts()), Text(before));
  Look([](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.FindResult(1))), Text(TestResult(1, 1)));
    EXPECT_EQ(Text(Must(reader.AllLeases())), Text(std::vector{TestLease(1, 1)}));
    EXPECT_EQ(Must(reader.AllPacks(PackState::kOpen)).size(), 1u);
  });
  Write([](JobTransaction& tx) {
    EXPECT_EQ(AddJob(tx, 2), 2);
    EXPECT_EQ(Must(tx.NextEpoch()), 2) << "an epoch is never given twice";
  });
}

}  // namespace
}  // namespace tiffin::server
