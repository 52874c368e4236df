// Every statement finds its rows by an index, so that none slows down as the database grows.
#include <SQLiteCpp/Database.h>
#include <SQLiteCpp/Statement.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "server/jobs/sqlite_connection.h"
#include "server/jobs/sqlite_schema.h"
#include "server/jobs/sqlite_transaction.h"
#include "tests/contract/jobs/job_database_contract.h"
#include "tests/unit/server/jobs/sqlite_test_folder.h"

namespace tiffin::server {
namespace {

// Calls everything once, so that all statements are prepared.
void CallAll(JobTransaction& tx) {
  const RowId space = Must(tx.EnsureNamespace("a"));
  Must(tx.EnsureSession(TestSession(space, 1)));
  JobRow job = TestJob(space, 1);
  job.id = Must(tx.InsertJob(job));
  Must(tx.UpdateJob(job));
  Must(tx.PutResult(TestResult(job.id, 1)));
  Must(tx.DeleteResult(job.id));
  Must(tx.PutLease(TestLease(job.id, 1)));
  Must(tx.DeleteLease(job.id));
  Must(tx.PutAlias({space, "p", "n", job.id}));
  Must(tx.DeleteAlias(space, "p", "n"));
  Must(tx.AddEvidence({job.id, TestDigest(1), 1, absl::UnixEpoch()}));
  const RowId blob = Must(tx.InsertBlob(TestBlob(1, "pack")));
  Must(tx.MoveBlob(blob, "other:1", ""));
  Must(tx.ShowBlob(space, blob));
  Must(tx.PutValue(TestDigest(1), blob));
  Must(tx.AddUse(job.id, blob, BlobUse::kResult));
  Must(tx.DropUses(job.id, BlobUse::kResult));
  const RowId outer = Must(tx.InsertBlob(TestBlob(2, "pack")));
  Must(tx.AddHold(outer, blob));
  Must(tx.DeleteBlob(outer));
  Must(tx.PutPack({"pack", PackState::kOpen}));
  Must(tx.DeletePack("pack"));

  Must(tx.FindJob(job.id));
  Must(tx.FindJob(space, TestDigest(1)));
  Must(tx.AddHits({job.id, 1, absl::UnixEpoch()}));
  Must(tx.FindHits(job.id));
  Must(tx.FindJobRecord(job.id));
  for (const bool down : {false, true}) {
    Must(tx.ListJobs({.namespace_id = space, .newest_first = down}, 10));
    Must(tx.ListJobs({.namespace_id = space, .function = "f", .newest_first = down}, 10));
    Must(tx.ListJobs({.namespace_id = space, .session = 1, .newest_first = down}, 10));
  }
  Must(tx.BlobsUsed(job.id, BlobUse::kResult));
  Must(tx.JobsWithEvidence(0, 10));
  Must(tx.FindResult(job.id));
  Must(tx.FindValueOf(space, TestDigest(1)));
  Must(tx.FindLease(job.id));
  Must(tx.FindLeaseById("x"));
  Must(tx.JobsLinkedTo(1));
  Must(tx.FindSession(1));
  Must(tx.FindAlias(space, "p", "n"));
  Must(tx.ListAliases(space, "", "", "", 10));
  Must(tx.ListAliases(space, "p", "", "", 10));
  Must(tx.ListAllAliases({space, "p", "n"}, 10));
  Must(tx.ListValues(TestDigest(1), 10));
  Must(tx.FindBlob(blob));
  Must(tx.FindBlobsByKey(space, TestDigest(1)));
  Must(tx.BlobVisible(space, blob));
  Must(tx.FindValue(TestDigest(1)));
  Must(tx.BlobsInPack("pack"));
  Must(tx.ListBlobs(space, 0, 10));
  Must(tx.BlobInUse(blob));
  Must(tx.UnusedBlobs(0, 10));
  Must(tx.JobsUsing(space, blob, BlobUse::kResult, 10));
  Must(tx.AllJobsUsing(blob, BlobUse::kResult));
  Must(tx.Evidence(job.id));
  Must(tx.AllPacks(PackState::kOpen));
  Must(tx.FindPack("pack"));
}

TEST(SqlitePlans, EveryStatementUsesAnIndex) {
  const TestFolder folder;
  SqliteConnection connection({.file = folder.file()}, SqliteConnection::Role::kWriter);
  Must(Migrate(connection, Migrations()));
  SqliteTransaction transaction(&connection, Counters());
  Must(transaction.Begin());
  Must(transaction.RunOperation([](JobTransaction& tx) {
    CallAll(tx);
    return absl::OkStatus();
  }));
  Must(transaction.Commit());

  int statements = 0;
  sqlite3* handle = connection.database().getHandle();
  std::vector<std::string> all;
  for (sqlite3_stmt* s = sqlite3_next_stmt(handle, nullptr); s != nullptr;
       s = sqlite3_next_stmt(handle, s)) {
    all.push_back(sqlite3_sql(s));
  }
  for (const std::string& sql : all) {
    SQLite::Statement plan(connection.database(), "EXPLAIN QUERY PLAN " + sql);
    while (plan.executeStep()) {
      const std::string step = plan.getColumn(3).getString();
      EXPECT_FALSE(step.starts_with("SCAN")) << step << "\n  " << sql;
      // Sorting is only of the few rows of one key or one job.
      if (sql.find("evidence") == std::string::npos &&
          sql.find("blob_views") == std::string::npos) {
        EXPECT_EQ(step.find("TEMP B-TREE"), std::string::npos) << step << "\n  " << sql;
      }
      ++statements;
    }
  }
  EXPECT_GT(statements, 30);
}

}  // namespace
}  // namespace tiffin::server
