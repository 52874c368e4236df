// Each change and the look-ups that see it.
#include "absl/strings/str_cat.h"
#include "tests/contract/jobs/job_database_contract.h"

namespace tiffin::server {
namespace {

TEST_P(JobRows, ANewDatabaseIsEmpty) {
  Look([](JobReader& reader) {
    EXPECT_EQ(Must(reader.FindNamespace("default")), 0);
    EXPECT_FALSE(Must(reader.FindJob(1, TestDigest(1))));
    EXPECT_FALSE(Must(reader.FindJob(1)));
    EXPECT_FALSE(Must(reader.FindResult(1)));
    EXPECT_FALSE(Must(reader.FindLease(1)));
    EXPECT_FALSE(Must(reader.FindLeaseById("x")));
    EXPECT_FALSE(Must(reader.FindSession(1)));
    EXPECT_FALSE(Must(reader.FindSession(1, "x")));
    EXPECT_FALSE(Must(reader.FindAlias(1, "p", "n")));
    EXPECT_FALSE(Must(reader.FindBlob(TestBlob(1, "p").name)));
    EXPECT_FALSE(Must(reader.FindBlob(1)));
    EXPECT_FALSE(Must(reader.FindValue(TestDigest(1))));
    EXPECT_FALSE(Must(reader.FindPack("p")));
    EXPECT_FALSE(Must(reader.BlobVisible(1, 1)));
    EXPECT_EQ(Text(Must(reader.Counts())), Text(DatabaseCounts()));
  });
}

TEST_P(JobRows, EnsureNamespaceGivesTheSameIdAgain) {
  Write([](JobTransaction& tx) {
    const RowId a = Must(tx.EnsureNamespace("a"));
    const RowId b = Must(tx.EnsureNamespace("b"));
    EXPECT_NE(a, 0);
    EXPECT_NE(a, b);
    EXPECT_EQ(Must(tx.EnsureNamespace("a")), a);
    EXPECT_EQ(Must(tx.FindNamespace("b")), b);
  });
  EXPECT_EQ(Counts().namespaces, 2);
}

TEST_P(JobRows, SessionsAreFoundByIdAndByToken) {
  SessionRow session;
  Write([&](JobTransaction& tx) {
    session = TestSession(Must(tx.EnsureNamespace("a")), 1);
    session.id = Must(tx.EnsureSession(session));
    SessionRow again = session;
    again.name = "changed";
    EXPECT_EQ(Must(tx.EnsureSession(again)), session.id);
    SessionRow elsewhere = session;
    elsewhere.namespace_id = Must(tx.EnsureNamespace("b"));
    EXPECT_NE(Must(tx.EnsureSession(elsewhere)), session.id);
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.FindSession(session.id))), Text(session));
    EXPECT_EQ(Text(Must(reader.FindSession(session.namespace_id, session.token))), Text(session));
    EXPECT_FALSE(Must(reader.FindSession(session.namespace_id, "other")));
  });
  EXPECT_EQ(Counts().sessions, 2);
}

TEST_P(JobRows, NamesOfAnOperationThatFailedAreNotKnownAfterwards) {
  const SessionRow session = TestSession(1, 1);
  const auto add = [&](JobTransaction& tx, SessionRow row) {
    row.namespace_id = Must(tx.EnsureNamespace("a"));
    row.id = Must(tx.EnsureSession(row));
    // Looked up, too, as whoever uses them does.
    EXPECT_EQ(Must(tx.FindNamespace("a")), row.namespace_id);
    EXPECT_EQ(Text(Must(tx.FindSession(row.id))), Text(row));
    EXPECT_EQ(Text(Must(tx.FindSession(row.namespace_id, row.token))), Text(row));
    return row;
  };
  SessionRow lost;
  EXPECT_TRUE(absl::IsAborted(database().WriteAndWait([&](JobTransaction& tx) -> absl::Status {
    lost = add(tx, session);
    return absl::AbortedError("no");
  })));
  SessionRow kept;
  Write([&](JobTransaction& tx) {
    EXPECT_EQ(Must(tx.FindNamespace("a")), 0);
    EXPECT_FALSE(Must(tx.FindSession(lost.id)));
    EXPECT_FALSE(Must(tx.FindSession(lost.namespace_id, lost.token)));
    kept = add(tx, session);
  });
  Look([&](JobReader& reader) {
    for (int again = 0; again < 2; ++again) {
      EXPECT_EQ(Must(reader.FindNamespace("a")), kept.namespace_id);
      EXPECT_EQ(Text(Must(reader.FindSession(kept.id))), Text(kept));
    }
  });
}

TEST_P(JobRows, JobsAreFoundByKeyAndById) {
  JobRow job;
  Write([&](JobTransaction& tx) {
    job = TestJob(Must(tx.EnsureNamespace("a")), 7);
    job.id = Must(tx.InsertJob(job));
    EXPECT_EQ(Text(Must(tx.FindJob(job.id))), Text(job));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.FindJob(job.namespace_id, job.key))), Text(job));
    EXPECT_EQ(Text(Must(reader.FindJob(job.id))), Text(job));
    EXPECT_FALSE(Must(reader.FindJob(job.namespace_id + 1, job.key)));
    EXPECT_FALSE(Must(reader.FindJob(job.namespace_id, TestDigest(8))));
  });
}

TEST_P(JobRows, TheSameKeyInAnotherNamespaceIsAnotherJob) {
  Write([](JobTransaction& tx) {
    const RowId first = Must(tx.InsertJob(TestJob(Must(tx.EnsureNamespace("a")), 7)));
    const RowId second = Must(tx.InsertJob(TestJob(Must(tx.EnsureNamespace("b")), 7)));
    EXPECT_NE(first, second);
  });
  EXPECT_EQ(Counts().jobs, 2);
}

TEST_P(JobRows, InsertingAJobTwiceIsAlreadyExists) {
  Write([](JobTransaction& tx) { Must(tx.InsertJob(TestJob(Must(tx.EnsureNamespace("a")), 1))); });
  const absl::Status status = database().WriteAndWait([](JobTransaction& tx) {
    return tx.InsertJob(TestJob(Must(tx.EnsureNamespace("a")), 1)).status();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
  EXPECT_EQ(Counts().jobs, 1);
}

TEST_P(JobRows, UpdateJobChangesAllButItsName) {
  JobRow job;
  Write([&](JobTransaction& tx) {
    job = TestJob(Must(tx.EnsureNamespace("a")), 1);
    job.id = Must(tx.InsertJob(job));
  });
  JobRow changed = TestJob(99, 2);
  changed.id = job.id;
  changed.state = JobState::kLinked;
  changed.link = 55;
  Write([&](JobTransaction& tx) { Must(tx.UpdateJob(changed)); });
  changed.namespace_id = job.namespace_id;
  changed.key = job.key;
  changed.created = job.created;
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.FindJob(job.id))), Text(changed));
    EXPECT_EQ(Must(reader.JobsLinkedTo(55)), std::vector<RowId>{job.id});
  });
}

TEST_P(JobRows, UpdatingAJobThatIsNotThereIsNotFound) {
  const absl::Status status = database().WriteAndWait([](JobTransaction& tx) {
    JobRow job = TestJob(1, 1);
    job.id = 5;
    return tx.UpdateJob(job);
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound) << status;
}

TEST_P(JobRows, CountsFollowTheStatesOfJobs) {
  JobRow job;
  Write([&](JobTransaction& tx) {
    job = TestJob(Must(tx.EnsureNamespace("a")), 1);
    job.id = Must(tx.InsertJob(job));
    JobRow done = TestJob(job.namespace_id, 2);
    done.state = JobState::kDone;
    Must(tx.InsertJob(done));
  });
  EXPECT_EQ(Text(Counts()), Text(DatabaseCounts{.jobs = 2, .done = 1, .namespaces = 1}));

  job.state = JobState::kFailed;
  Write([&](JobTransaction& tx) { Must(tx.UpdateJob(job)); });
  EXPECT_EQ(Text(Counts()),
            Text(DatabaseCounts{.jobs = 2, .done = 1, .failed = 1, .namespaces = 1}));

  job.state = JobState::kDone;
  Write([&](JobTransaction& tx) { Must(tx.UpdateJob(job)); });
  EXPECT_EQ(Text(Counts()), Text(DatabaseCounts{.jobs = 2, .done = 2, .namespaces = 1}));
}

TEST_P(JobRows, LinksAreFoundFromTheirTarget) {
  RowId target = 0;
  RowId follower = 0;
  Write([&](JobTransaction& tx) {
    const RowId space = Must(tx.EnsureNamespace("a"));
    target = Must(tx.InsertJob(TestJob(space, 1)));
    JobRow job = TestJob(space, 2);
    job.link = target;
    follower = Must(tx.InsertJob(job));
    job = TestJob(space, 3);
    job.link = target;
    job.id = Must(tx.InsertJob(job));
    EXPECT_EQ(Must(tx.JobsLinkedTo(target)), (std::vector<RowId>{follower, job.id}));
    job.link = 0;
    Must(tx.UpdateJob(job));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Must(reader.JobsLinkedTo(target)), std::vector<RowId>{follower});
    EXPECT_TRUE(Must(reader.JobsLinkedTo(0)).empty());
  });
}

TEST_P(JobRows, AResultReplacesTheOneBefore) {
  RowId job = 0;
  Write([&](JobTransaction& tx) {
    job = Must(tx.InsertJob(TestJob(Must(tx.EnsureNamespace("a")), 1)));
    Must(tx.PutResult(TestResult(job, 1)));
    Must(tx.PutResult(TestResult(job, 2)));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.FindResult(job))), Text(TestResult(job, 2)));
  });
  Write([&](JobTransaction& tx) {
    Must(tx.DeleteResult(job));
    Must(tx.DeleteResult(job));
  });
  Look([&](JobReader& reader) { EXPECT_FALSE(Must(reader.FindResult(job))); });
}

TEST_P(JobRows, AValueIsFoundByItsJobsKeyInOneLook) {
  RowId space = 0, other = 0;
  JobRow job;
  ResultRow value;
  Write([&](JobTransaction& tx) {
    space = Must(tx.EnsureNamespace("a"));
    other = Must(tx.EnsureNamespace("b"));
    job = TestJob(space, 1);
    job.id = Must(tx.InsertJob(job));
    EXPECT_FALSE(Must(tx.FindValueOf(space, job.key))) << "no result";
    value = TestResult(job.id, 1);
    value.kind = ResultKind::kWorkflow;
    Must(tx.PutResult(value));
    EXPECT_FALSE(Must(tx.FindValueOf(space, job.key))) << "no value";
    value.kind = ResultKind::kValue;
    Must(tx.PutResult(value));
    Must(tx.InsertJob(TestJob(other, 2)));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.FindValueOf(space, job.key))), Text(value));
    EXPECT_FALSE(Must(reader.FindValueOf(other, job.key)));
    EXPECT_FALSE(Must(reader.FindValueOf(other, TestJob(other, 2).key)));
    EXPECT_FALSE(Must(reader.FindValueOf(space, TestDigest(12345))));
  });
  Write([&](JobTransaction& tx) { Must(tx.DeleteResult(job.id)); });
  Look([&](JobReader& reader) { EXPECT_FALSE(Must(reader.FindValueOf(space, job.key))); });
}

TEST_P(JobRows, ALeaseReplacesTheOneBefore) {
  RowId job = 0;
  RowId other = 0;
  Write([&](JobTransaction& tx) {
    const RowId space = Must(tx.EnsureNamespace("a"));
    job = Must(tx.InsertJob(TestJob(space, 1)));
    other = Must(tx.InsertJob(TestJob(space, 2)));
    Must(tx.PutLease(TestLease(other, 8)));
    Must(tx.PutLease(TestLease(job, 1)));
    Must(tx.PutLease(TestLease(job, 2)));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.FindLease(job))), Text(TestLease(job, 2)));
    EXPECT_EQ(Text(Must(reader.FindLeaseById("lease2"))), Text(TestLease(job, 2)));
    EXPECT_FALSE(Must(reader.FindLeaseById("lease1")));
    EXPECT_EQ(Text(Must(reader.AllLeases())),
              Text(std::vector{TestLease(job, 2), TestLease(other, 8)}));
  });
  EXPECT_EQ(Counts().leases, 2);
  Write([&](JobTransaction& tx) {
    Must(tx.DeleteLease(job));
    Must(tx.DeleteLease(job));
  });
  EXPECT_EQ(Counts().leases, 1);
}

TEST_P(JobRows, TwoJobsCannotHaveOneLeaseId) {
  RowId space = 0;
  Write([&](JobTransaction& tx) {
    space = Must(tx.EnsureNamespace("a"));
    Must(tx.PutLease(TestLease(Must(tx.InsertJob(TestJob(space, 1))), 1)));
  });
  const absl::Status status = database().WriteAndWait([&](JobTransaction& tx) {
    return tx.PutLease(TestLease(Must(tx.InsertJob(TestJob(space, 2))), 1));
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
  EXPECT_EQ(Counts().jobs, 1);
}

TEST_P(JobRows, EpochsGoUpByOne) {
  Write([](JobTransaction& tx) {
    EXPECT_EQ(Must(tx.NextEpoch()), 1);
    EXPECT_EQ(Must(tx.NextEpoch()), 2);
  });
  Write([](JobTransaction& tx) { EXPECT_EQ(Must(tx.NextEpoch()), 3); });
}

TEST_P(JobRows, AliasesAreListedInOrderFromAPosition) {
  RowId space = 0, elsewhere = 0;
  RowId job = 0;
  Write([&](JobTransaction& tx) {
    space = Must(tx.EnsureNamespace("a"));
    job = Must(tx.InsertJob(TestJob(space, 1)));
    elsewhere = Must(tx.EnsureNamespace("b"));
    for (const auto& [profile, name] : std::vector<std::pair<std::string, std::string>>{
             {"q", "1"}, {"p", "2"}, {"p", "1"}, {"p", "\xff"}, {"q", ""}, {"qq", "0"}}) {
      Must(tx.PutAlias({space, profile, name, job}));
      Must(tx.PutAlias({elsewhere, profile, name, job}));
    }
    Must(tx.PutAlias({space, "q", "1", job}));
  });
  const auto row = [&](const char* profile, const char* name) {
    return AliasRow{space, profile, name, job};
  };
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.ListAliases(space, "", "", "", 100))),
              Text(std::vector{row("p", "1"), row("p", "2"), row("p", "\xff"), row("q", ""),
                               row("q", "1"), row("qq", "0")}));
    EXPECT_EQ(Text(Must(reader.ListAliases(space, "", "p", "2", 2))),
              Text(std::vector{row("p", "\xff"), row("q", "")}));
    EXPECT_EQ(Text(Must(reader.ListAliases(space, "q", "", "", 100))),
              Text(std::vector{row("q", ""), row("q", "1")}));
    EXPECT_EQ(Text(Must(reader.ListAliases(space, "p", "p", "1", 1))),
              Text(std::vector{row("p", "2")}));
    EXPECT_TRUE(Must(reader.ListAliases(space, "", "", "", 0)).empty());
    EXPECT_EQ(Text(Must(reader.ListAllAliases(row("q", ""), 3))),
              Text(std::vector{row("q", "1"), row("qq", "0"), AliasRow{elsewhere, "p", "1", job}}));
    EXPECT_EQ(Must(reader.ListAllAliases({}, 100)).size(), 12u);
    EXPECT_TRUE(Must(reader.ListAllAliases({elsewhere, "qq", "0"}, 100)).empty());
  });
  EXPECT_EQ(Counts().aliases, 12);
}

TEST_P(JobRows, AnAliasCanPointElsewhereAndBeDeleted) {
  RowId space = 0;
  RowId second = 0;
  Write([&](JobTransaction& tx) {
    space = Must(tx.EnsureNamespace("a"));
    const RowId first = Must(tx.InsertJob(TestJob(space, 1)));
    second = Must(tx.InsertJob(TestJob(space, 2)));
    Must(tx.PutAlias({space, "p", "n", first}));
    Must(tx.PutAlias({space, "p", "n", second}));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.FindAlias(space, "p", "n"))),
              Text(AliasRow{space, "p", "n", second}));
  });
  EXPECT_EQ(Counts().aliases, 1);
  Write([&](JobTransaction& tx) {
    Must(tx.DeleteAlias(space, "p", "n"));
    Must(tx.DeleteAlias(space, "p", "n"));
  });
  Look([&](JobReader& reader) { EXPECT_FALSE(Must(reader.FindAlias(space, "p", "n"))); });
  EXPECT_EQ(Counts().aliases, 0);
}

TEST_P(JobRows, ResultsAreListedWithTheirLastUse) {
  std::vector<RowId> jobs;
  const absl::Time start = absl::FromUnixSeconds(1000);
  Write([&](JobTransaction& tx) {
    const RowId a = Must(tx.EnsureNamespace("a"));
    for (int i = 0; i < 4; ++i) {
      jobs.push_back(Must(tx.InsertJob(TestJob(a, static_cast<uint64_t>(i)))));
      if (i == 1) continue;  // has none
      ResultRow result{.job = jobs.back()};
      result.record = std::string(5000, 'r');
      result.stored = start + absl::Seconds(i);
      Must(tx.PutResult(result));
    }
    Must(tx.AddHits({jobs[0], 1, start + absl::Seconds(50)}));
    Must(tx.AddHits({jobs[3], 1, start}));
    Must(tx.PutAlias({a, "p", "n", jobs[2]}));
  });
  Look([&](JobReader& reader) {
    const std::vector<ResultUse> all = Must(reader.ListResultUses(0, 10));
    ASSERT_EQ(all.size(), 3u);
    EXPECT_EQ(all[0].job, jobs[0]);
    EXPECT_EQ(all[0].used, start + absl::Seconds(50)) << "read after it was stored";
    EXPECT_EQ(all[1].used, start + absl::Seconds(2));
    EXPECT_EQ(all[2].used, start + absl::Seconds(3));
    EXPECT_EQ(Must(reader.ListResultUses(jobs[0], 1))[0].job, jobs[2]);
    EXPECT_EQ(Must(reader.AliasesOf(jobs[2])).size(), 1u);
    EXPECT_TRUE(Must(reader.AliasesOf(jobs[0])).empty());
  });
  uint64_t before = 0, after = 0;
  Look([&](JobReader& reader) { before = Must(reader.UsedBytes()); });
  EXPECT_GT(before, 15'000u);
  Write([&](JobTransaction& tx) {
    for (const RowId job : jobs) Must(tx.DeleteResult(job));
  });
  Look([&](JobReader& reader) { after = Must(reader.UsedBytes()); });
  EXPECT_LT(after + 12'000, before) << "what is free does not count";
}

TEST_P(JobRows, EvidenceOfOneDigestIsKeptOnce) {
  RowId job = 0;
  const auto row = [&](uint64_t digest, RowId session, int64_t at) {
    return EvidenceRow{job, TestDigest(digest), session, absl::FromUnixSeconds(at)};
  };
  Write([&](JobTransaction& tx) {
    job = Must(tx.InsertJob(TestJob(Must(tx.EnsureNamespace("a")), 1)));
    Must(tx.AddEvidence(row(1, 1, 20)));
    Must(tx.AddEvidence(row(2, 2, 10)));
    Must(tx.AddEvidence(row(1, 3, 30)));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.Evidence(job))), Text(std::vector{row(2, 2, 10), row(1, 1, 20)}));
    EXPECT_TRUE(Must(reader.Evidence(job + 1)).empty());
  });
  EXPECT_EQ(Counts().evidence, 2);
}

TEST_P(JobRows, ARowCannotReferToOneThatIsNotThere) {
  const std::vector<std::function<absl::Status(JobTransaction&)>> changes = {
      [](JobTransaction& tx) { return tx.InsertJob(TestJob(9, 1)).status(); },
      [](JobTransaction& tx) { return tx.EnsureSession(TestSession(9, 1)).status(); },
      [](JobTransaction& tx) { return tx.PutResult(TestResult(9, 1)); },
      [](JobTransaction& tx) { return tx.PutLease(TestLease(9, 1)); },
      [](JobTransaction& tx) {
        return tx.PutAlias({9, "p", "n", 9});
      },
      [](JobTransaction& tx) {
        return tx.AddEvidence({9, TestDigest(1), 1, absl::UnixEpoch()});
      },
      [](JobTransaction& tx) { return tx.ShowBlob(9, 9); },
      [](JobTransaction& tx) { return tx.PutValue(TestDigest(1), 9); },
      [](JobTransaction& tx) { return tx.AddUse(9, 9, BlobUse::kResult); }};
  for (size_t i = 0; i < changes.size(); ++i) {
    const absl::Status status = database().WriteAndWait(changes[i]);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << i << ": " << status;
  }
  EXPECT_EQ(Text(Counts()), Text(DatabaseCounts()));
}

TEST_P(JobRows, TextMayHoldAnyBytes) {
  const std::string odd("a\0b\xff\xfe'\"%\n", 9);
  RowId job = 0;
  RowId space = 0;
  Write([&](JobTransaction& tx) {
    space = Must(tx.EnsureNamespace(odd));
    JobRow row = TestJob(space, 1);
    row.function = row.version = row.record = row.lost_hosts = odd;
    job = Must(tx.InsertJob(row));
    Must(tx.PutAlias({space, odd, odd, job}));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Must(reader.FindNamespace(odd)), space);
    EXPECT_EQ(Must(reader.FindJobRecord(job)), odd);
    EXPECT_EQ(Must(reader.FindJob(job))->function, odd);
    EXPECT_TRUE(Must(reader.FindAlias(space, odd, odd)));
    EXPECT_FALSE(Must(reader.FindAlias(space, odd, odd.substr(0, 1))));
  });
}

TEST_P(JobRows, ARecordMayBeSixteenMebibytes) {
  RowId job = 0;
  std::string record(16 << 20, 'x');
  record[12345] = 'y';
  Write([&](JobTransaction& tx) {
    JobRow row = TestJob(Must(tx.EnsureNamespace("a")), 1);
    row.record = record;
    job = Must(tx.InsertJob(row));
    ResultRow result = TestResult(job, 1);
    result.record = record;
    Must(tx.PutResult(result));
  });
  Look([&](JobReader& reader) {
    EXPECT_TRUE(Must(reader.FindJobRecord(job)) == record);
    EXPECT_TRUE(Must(reader.FindResult(job))->record == record);
  });
}

TEST_P(JobRows, TimesAreKeptToTheMicrosecond) {
  RowId job = 0;
  Write([&](JobTransaction& tx) {
    JobRow row = TestJob(Must(tx.EnsureNamespace("a")), 1);
    row.created = absl::FromUnixNanos(1'234'567'891);
    job = Must(tx.InsertJob(row));
    LeaseRow lease = TestLease(job, 1);
    lease.term = absl::Nanoseconds(5'999);
    Must(tx.PutLease(lease));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Must(reader.FindJob(job))->created, absl::FromUnixMicros(1'234'567));
    EXPECT_EQ(Must(reader.FindLease(job))->term, absl::Microseconds(5));
  });
}

}  // namespace
}  // namespace tiffin::server
