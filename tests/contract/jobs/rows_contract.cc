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
  RowId space = 0;
  RowId job = 0;
  Write([&](JobTransaction& tx) {
    space = Must(tx.EnsureNamespace("a"));
    job = Must(tx.InsertJob(TestJob(space, 1)));
    const RowId elsewhere = Must(tx.EnsureNamespace("b"));
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

TEST_P(JobRows, BlobsAreNamedByKeyDtypeAndShape) {
  std::vector<BlobRow> blobs;
  Write([&](JobTransaction& tx) {
    BlobRow blob = TestBlob(1, "pack");
    for (const auto& [dtype, shape] : std::vector<std::pair<std::string, Shape>>{
             {"int64", {0}}, {"int64", {}}, {"int64", {1, 0}}, {"|V1", {0}}}) {
      blob.name.dtype = dtype;
      blob.name.shape = shape;
      blob.id = Must(tx.InsertBlob(blob));
      blobs.push_back(blob);
    }
  });
  Look([&](JobReader& reader) {
    for (const BlobRow& blob : blobs) {
      EXPECT_EQ(Text(Must(reader.FindBlob(blob.name))), Text(blob));
      EXPECT_EQ(Text(Must(reader.FindBlob(blob.id))), Text(blob));
    }
    EXPECT_FALSE(Must(reader.FindBlob({TestDigest(1), "int64", {0, 1}})));
  });
  EXPECT_EQ(Counts().blobs, 4);
  EXPECT_EQ(Counts().blob_bytes, 4 * 24);
}

TEST_P(JobRows, InsertingABlobTwiceIsAlreadyExists) {
  Write([](JobTransaction& tx) { Must(tx.InsertBlob(TestBlob(1, "pack"))); });
  const absl::Status status = database().WriteAndWait(
      [](JobTransaction& tx) { return tx.InsertBlob(TestBlob(1, "other")).status(); });
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists) << status;
  EXPECT_EQ(Counts().blobs, 1);
}

TEST_P(JobRows, ANamespaceSeesTheBlobsItWasShown) {
  RowId a = 0;
  RowId b = 0;
  std::vector<BlobRow> blobs;
  Write([&](JobTransaction& tx) {
    a = Must(tx.EnsureNamespace("a"));
    b = Must(tx.EnsureNamespace("b"));
    for (uint64_t n : {1, 2, 3}) {
      BlobRow blob = TestBlob(n, "pack");
      blob.name.key = TestDigest(9);
      blob.id = Must(tx.InsertBlob(blob));
      blobs.push_back(blob);
    }
    Must(tx.ShowBlob(a, blobs[2].id));
    Must(tx.ShowBlob(a, blobs[0].id));
    Must(tx.ShowBlob(a, blobs[0].id));
    Must(tx.ShowBlob(b, blobs[1].id));
  });
  Look([&](JobReader& reader) {
    EXPECT_TRUE(Must(reader.BlobVisible(a, blobs[0].id)));
    EXPECT_FALSE(Must(reader.BlobVisible(b, blobs[0].id)));
    EXPECT_EQ(Text(Must(reader.FindBlobsByKey(a, TestDigest(9)))),
              Text(std::vector{blobs[0], blobs[2]}));
    EXPECT_EQ(Text(Must(reader.FindBlobsByKey(b, TestDigest(9)))), Text(std::vector{blobs[1]}));
    EXPECT_TRUE(Must(reader.FindBlobsByKey(b, TestDigest(8))).empty());
  });
}

TEST_P(JobRows, TheFirstBlobOfAValueStays) {
  BlobRow blob = TestBlob(1, "pack");
  Write([&](JobTransaction& tx) {
    blob.id = Must(tx.InsertBlob(blob));
    Must(tx.PutValue(TestDigest(50), blob.id));
    Must(tx.PutValue(TestDigest(50), Must(tx.InsertBlob(TestBlob(2, "pack")))));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.FindValue(TestDigest(50)))), Text(blob));
    EXPECT_FALSE(Must(reader.FindValue(TestDigest(51))));
  });
}

TEST_P(JobRows, AMovedBlobIsInItsNewPack) {
  BlobRow first = TestBlob(1, "one");
  BlobRow second = TestBlob(2, "one");
  Write([&](JobTransaction& tx) {
    first.id = Must(tx.InsertBlob(first));
    second.id = Must(tx.InsertBlob(second));
    Must(tx.InsertBlob(TestBlob(3, "on")));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.BlobsInPack("one"))), Text(std::vector{first, second}));
  });
  first.location = "two:5";
  first.checksums = std::string("\0\1", 2);
  Write([&](JobTransaction& tx) { Must(tx.MoveBlob(first.id, first.location, first.checksums)); });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.BlobsInPack("one"))), Text(std::vector{second}));
    EXPECT_EQ(Text(Must(reader.BlobsInPack("two"))), Text(std::vector{first}));
    EXPECT_EQ(Text(Must(reader.FindBlob(first.name))), Text(first));
    EXPECT_TRUE(Must(reader.BlobsInPack("")).empty());
  });
  const absl::Status absent =
      database().WriteAndWait([](JobTransaction& tx) { return tx.MoveBlob(99, "x:1", ""); });
  EXPECT_EQ(absent.code(), absl::StatusCode::kNotFound) << absent;
}

TEST_P(JobRows, UsesAreFoundFromTheBlob) {
  RowId a = 0;
  RowId blob = 0;
  std::vector<RowId> jobs;
  Write([&](JobTransaction& tx) {
    a = Must(tx.EnsureNamespace("a"));
    blob = Must(tx.InsertBlob(TestBlob(1, "pack")));
    for (uint64_t n : {1, 2, 3}) jobs.push_back(Must(tx.InsertJob(TestJob(a, n))));
    const RowId foreign = Must(tx.InsertJob(TestJob(Must(tx.EnsureNamespace("b")), 1)));
    for (const RowId job : {jobs[2], jobs[0], foreign, jobs[1], jobs[0]}) {
      Must(tx.AddUse(job, blob, BlobUse::kArgument));
    }
    Must(tx.AddUse(jobs[1], blob, BlobUse::kResult));
  });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Must(reader.JobsUsing(a, blob, BlobUse::kArgument, 100)), jobs);
    EXPECT_EQ(Must(reader.JobsUsing(a, blob, BlobUse::kArgument, 2)),
              (std::vector{jobs[0], jobs[1]}));
    EXPECT_EQ(Must(reader.JobsUsing(a, blob, BlobUse::kResult, 100)), (std::vector{jobs[1]}));
    EXPECT_EQ(Must(reader.AllJobsUsing(blob, BlobUse::kArgument)).size(), jobs.size() + 1);
  });
  Write([&](JobTransaction& tx) { Must(tx.DropUses(jobs[1], BlobUse::kArgument)); });
  Look([&](JobReader& reader) {
    EXPECT_EQ(Must(reader.JobsUsing(a, blob, BlobUse::kArgument, 100)),
              (std::vector{jobs[0], jobs[2]}));
    EXPECT_EQ(Must(reader.JobsUsing(a, blob, BlobUse::kResult, 100)), (std::vector{jobs[1]}));
  });
}

TEST_P(JobRows, BlobsThatNothingUsesCanBeFoundAndDeleted) {
  RowId a = 0, b = 0;
  std::vector<RowId> blobs;
  Write([&](JobTransaction& tx) {
    a = Must(tx.EnsureNamespace("a"));
    b = Must(tx.EnsureNamespace("b"));
    const RowId job = Must(tx.InsertJob(TestJob(a, 1)));
    for (int i = 0; i < 4; ++i) {
      blobs.push_back(Must(tx.InsertBlob(TestBlob(i, i < 3 ? "p:o:1" : "q:s:1"))));
      Must(tx.ShowBlob(i % 2 == 0 ? a : b, blobs.back()));
    }
    Must(tx.AddUse(job, blobs[0], BlobUse::kResult));
    Must(tx.PutValue(TestDigest(7), blobs[1]));
    Must(tx.AddHold(blobs[1], blobs[2]));
    Must(tx.AddHold(blobs[1], blobs[2]));
  });
  const auto ids = [](const std::vector<BlobRow>& rows) {
    std::vector<RowId> out;
    for (const BlobRow& row : rows) out.push_back(row.id);
    return out;
  };
  Look([&](JobReader& reader) {
    EXPECT_EQ(ids(Must(reader.ListBlobs(a, 0, 10))), (std::vector{blobs[0], blobs[2]}));
    EXPECT_EQ(ids(Must(reader.ListBlobs(a, blobs[0], 10))), (std::vector{blobs[2]}));
    EXPECT_EQ(ids(Must(reader.ListBlobs(a, 0, 1))), (std::vector{blobs[0]}));
    EXPECT_TRUE(Must(reader.BlobInUse(blobs[0]))) << "by a job";
    EXPECT_TRUE(Must(reader.BlobInUse(blobs[2]))) << "by another blob";
    EXPECT_FALSE(Must(reader.BlobInUse(blobs[1])));
    EXPECT_EQ(ids(Must(reader.UnusedBlobs(0, 10))), (std::vector{blobs[1], blobs[3]}));
    EXPECT_EQ(ids(Must(reader.UnusedBlobs(blobs[1], 10))), (std::vector{blobs[3]}));
    const std::vector<PackUse> uses = Must(reader.PackUses());
    ASSERT_EQ(uses.size(), 2u);
    EXPECT_EQ(uses[0].pack, "p");
    EXPECT_EQ(uses[0].blobs, 3u);
    EXPECT_EQ(uses[1].blobs, 1u);
    EXPECT_EQ(ids(Must(reader.ListAllBlobs(blobs[0], 2))), (std::vector{blobs[1], blobs[2]}));
    EXPECT_TRUE(Must(reader.ListBlobs(0, 0, 10)).empty()) << "no namespace sees nothing";
    EXPECT_EQ(Must(reader.BlobsHolding(blobs[2])), (std::vector{blobs[1]}));
    EXPECT_EQ(Must(reader.BlobsHeldBy(blobs[1])), (std::vector{blobs[2]}));
    EXPECT_TRUE(Must(reader.BlobsHolding(blobs[1])).empty());
    EXPECT_EQ(Must(reader.UseOfPacks("p")).blobs, 3u);
    EXPECT_EQ(Must(reader.UseOfPacks("q")).bytes, Must(reader.FindBlob(blobs[3]))->size);
    EXPECT_EQ(Must(reader.UseOfPacks("!")).blobs, 0u);
  });
  const int64_t bytes = Counts().blob_bytes;
  uint64_t size = 0;
  Write([&](JobTransaction& tx) {
    size = Must(tx.FindBlob(blobs[1]))->size;
    Must(tx.DeleteBlob(blobs[1]));
  });
  EXPECT_EQ(Counts().blobs, 3);
  EXPECT_EQ(Counts().blob_bytes, bytes - static_cast<int64_t>(size));
  Look([&](JobReader& reader) {
    EXPECT_FALSE(Must(reader.FindBlob(blobs[1])).has_value());
    EXPECT_FALSE(Must(reader.FindValue(TestDigest(7))).has_value());
    EXPECT_FALSE(Must(reader.BlobVisible(b, blobs[1])));
    EXPECT_EQ(ids(Must(reader.UnusedBlobs(0, 10))), (std::vector{blobs[2], blobs[3]}))
        << "what it held is free now";
  });
  // One that is in use stays.
  EXPECT_TRUE(absl::IsFailedPrecondition(database().WriteAndWait(
      [&](JobTransaction& tx) { return tx.DeleteBlob(blobs[0]); })));
  EXPECT_EQ(Counts().blobs, 3);
}

TEST_P(JobRows, PacksChangeStateAndGo) {
  Write([](JobTransaction& tx) {
    Must(tx.PutPack({"b", PackState::kPending}));
    Must(tx.PutPack({"a", PackState::kPending}));
    Must(tx.PutPack({"c", PackState::kOpen}));
    Must(tx.PutPack({"b", PackState::kSealed}));
  });
  Look([](JobReader& reader) {
    EXPECT_EQ(Text(Must(reader.AllPacks(PackState::kPending))),
              Text(std::vector<PackRow>{{"a", PackState::kPending}}));
    EXPECT_EQ(Text(Must(reader.FindPack("b"))), Text(PackRow{"b", PackState::kSealed}));
  });
  Write([](JobTransaction& tx) {
    Must(tx.DeletePack("b"));
    Must(tx.DeletePack("b"));
  });
  Look([](JobReader& reader) {
    EXPECT_FALSE(Must(reader.FindPack("b")));
    EXPECT_TRUE(Must(reader.AllPacks(PackState::kSealed)).empty());
  });
}

TEST_P(JobRows, ARowCannotReferToOneThatIsNotThere) {
  const std::vector<std::function<absl::Status(JobTransaction&)>> changes = {
      [](JobTransaction& tx) { return tx.InsertJob(TestJob(9, 1)).status(); },
      [](JobTransaction& tx) { return tx.EnsureSession(TestSession(9, 1)).status(); },
      [](JobTransaction& tx) { return tx.PutResult(TestResult(9, 1)); },
      [](JobTransaction& tx) { return tx.PutLease(TestLease(9, 1)); },
      [](JobTransaction& tx) { return tx.PutAlias({9, "p", "n", 9}); },
      [](JobTransaction& tx) { return tx.AddEvidence({9, TestDigest(1), 1, absl::UnixEpoch()}); },
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
