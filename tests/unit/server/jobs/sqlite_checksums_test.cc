// Rows that no longer hold what was written: results say so, jobs cannot be read.
#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include "server/jobs/sqlite_connection.h"
#include "server/jobs/sqlite_job_database.h"
#include "server/jobs/sqlite_schema.h"
#include "tests/contract/jobs/job_database_contract.h"
#include "tests/unit/server/jobs/sqlite_test_folder.h"

namespace tiffin::server {
namespace {

class SqliteChecksums : public ::testing::Test {
 protected:
  // A job and its result, both in row 1.
  void Write() {
    const auto database = Open();
    Must(database->WriteAndWait([](JobTransaction& tx) -> absl::Status {
      const RowId job = Must(tx.InsertJob(TestJob(Must(tx.EnsureNamespace("n")), 7)));
      return tx.PutResult(TestResult(job, 7));
    }));
  }
  std::unique_ptr<JobDatabase> Open() { return Must(OpenSqliteJobDatabase({.file = folder_.file()})); }
  void Execute(const std::string& sql) {
    SQLite::Database(folder_.file().string(), SQLite::OPEN_READWRITE).exec(sql);
  }
  absl::StatusOr<std::optional<ResultRow>> Result() {
    std::optional<ResultRow> row;
    const absl::Status status = Open()->Read([&](JobReader& reader) -> absl::Status {
      absl::StatusOr<std::optional<ResultRow>> found = reader.FindResult(1);
      if (found.ok()) row = *std::move(found);
      return found.status();
    });
    if (!status.ok()) return status;
    return row;
  }
  absl::Status Job() {
    return Open()->Read([](JobReader& reader) { return reader.FindJob(1).status(); });
  }

  TestFolder folder_;
};

TEST_F(SqliteChecksums, WhatWasWrittenIsSound) {
  Write();
  EXPECT_FALSE(Must(Result())->damaged);
  EXPECT_TRUE(Job().ok());
}

TEST_F(SqliteChecksums, EachColumnOfAResultCounts) {
  for (const char* change :
       {"kind = 1 + kind % 3", "digest = zeroblob(32)", "epoch = epoch + 1", "session = session + 1",
        "stored = stored + 1", "retryable = 1 - retryable", "compute_seconds = compute_seconds + 1",
        "exit_status = exit_status + 1", "log = log || ' '", "record = record || ' '",
        "checksum = checksum + 1"}) {
    std::filesystem::remove(folder_.file());
    Write();
    Execute(std::string("UPDATE results SET ") + change);
    EXPECT_TRUE(Must(Result())->damaged) << change;
  }
}

TEST_F(SqliteChecksums, AResultInAnotherJobsRowIsDamaged) {
  Write();
  Must(Open()->WriteAndWait([](JobTransaction& tx) {
    return tx.InsertJob(TestJob(Must(tx.EnsureNamespace("n")), 8)).status();
  }));
  Execute("UPDATE results SET job = 2");
  Must(Open()->Read([](JobReader& reader) -> absl::Status {
    EXPECT_TRUE(Must(reader.FindResult(2))->damaged);
    return absl::OkStatus();
  }));
}

TEST_F(SqliteChecksums, EachColumnOfAJobCounts) {
  for (const char* change :
       {"key = zeroblob(32)", "state = 5 - state", "epoch = epoch + 1",
        "valid_from = valid_from + 1", "losses = losses + 1", "link = link + 1",
        "session = session + 1", "created = created + 1", "lost_hosts = lost_hosts || 'x'",
        "function = function || 'x'", "version = version || 'x'", "tombstone = 3 - tombstone",
        "buried = buried + 1", "checksum = checksum + 1"}) {
    std::filesystem::remove(folder_.file());
    Write();
    Execute(std::string("UPDATE jobs SET ") + change);
    EXPECT_EQ(Job().code(), absl::StatusCode::kDataLoss) << change;
  }
}

TEST_F(SqliteChecksums, ADamagedJobStopsNoOtherWrite) {
  Write();
  Execute("UPDATE jobs SET state = 5 - state");
  const auto database = Open();
  const absl::Status met = database->WriteAndWait(
      [](JobTransaction& tx) { return tx.FindJob(1).status(); });
  EXPECT_EQ(met.code(), absl::StatusCode::kDataLoss) << met;
  Must(database->WriteAndWait([](JobTransaction& tx) {
    return tx.InsertJob(TestJob(Must(tx.EnsureNamespace("n")), 8)).status();
  }));
}

TEST_F(SqliteChecksums, ADamagedJobIsMarkedInListsAndRefusedAlone) {
  Write();
  Must(Open()->WriteAndWait([](JobTransaction& tx) {
    return tx.InsertJob(TestJob(Must(tx.EnsureNamespace("n")), 8)).status();
  }));
  Execute("UPDATE jobs SET state = 5 - state WHERE id = 1");
  Must(Open()->Read([](JobReader& reader) -> absl::Status {
    EXPECT_TRUE(IsDamagedJobRow(reader.FindJob(1).status()));
    EXPECT_TRUE(Must(reader.FindJob(2)));
    for (const auto& rows : {Must(reader.ListAllJobs(0, 10)),
                             Must(reader.ListJobs({.namespace_id = Must(reader.FindNamespace("n"))}, 10))}) {
      EXPECT_EQ(rows.size(), 2u);
      EXPECT_TRUE(rows.at(0).damaged && !rows.at(1).damaged);
    }
    return absl::OkStatus();
  }));
}

TEST_F(SqliteChecksums, RowsOfTheFirstSchemaHaveNone) {
  {
    SqliteConnection connection({.file = folder_.file()}, SqliteConnection::Role::kWriter);
    Must(Migrate(connection, Migrations().first(1)));
  }
  Execute("INSERT INTO namespaces VALUES (1, 'n');"
          "INSERT INTO jobs VALUES (1, 1, zeroblob(32), 4, 1, 0, 0, 0, 0, 0, '', 'f', '', 0, 0);"
          "INSERT INTO results VALUES (1, 1, zeroblob(32), 1, 0, 0, 0, 0, 0, '', '\"old\"')");
  const std::optional<ResultRow> old = Must(Result());
  EXPECT_EQ(old->record, "\"old\"");
  EXPECT_FALSE(old->damaged);
  EXPECT_TRUE(Job().ok());
  // Written anew, they do.
  Must(Open()->WriteAndWait([&](JobTransaction& tx) { return tx.PutResult(*old); }));
  Execute("UPDATE results SET record = '\"new\"'");
  EXPECT_TRUE(Must(Result())->damaged);
}

}  // namespace
}  // namespace tiffin::server
