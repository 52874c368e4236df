// Rows that no longer hold what was written: results say so, jobs cannot be read.
#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <iterator>

#include "absl/strings/escaping.h"
#include "common/strings.h"
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
  std::unique_ptr<JobDatabase> Open() {
    return Must(OpenSqliteJobDatabase({.file = folder_.file()}));
  }
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

  static std::string Hex(const Digest& digest) {
    return absl::BytesToHexString(ToAbsl(digest.view()));
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
       {"kind = 1 + kind % 3", "digest = zeroblob(32)", "epoch = epoch + 1",
        "session = session + 1", "stored = stored + 1", "retryable = 1 - retryable",
        "compute_seconds = compute_seconds + 1", "exit_status = exit_status + 1",
        "log = log || ' '", "record = record || ' '", "checksum = checksum + 1"}) {
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
        "buried = buried + 1", "keep = 1 - keep", "checksum = checksum + 1"}) {
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
  const absl::Status met =
      database->WriteAndWait([](JobTransaction& tx) { return tx.FindJob(1).status(); });
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
    for (const auto& rows :
         {Must(reader.ListAllJobs(0, 10)),
          Must(reader.ListJobs({.namespace_id = Must(reader.FindNamespace("n"))}, 10))}) {
      EXPECT_EQ(rows.size(), 2u);
      EXPECT_TRUE(rows.at(0).damaged && !rows.at(1).damaged);
    }
    return absl::OkStatus();
  }));
}

TEST_F(SqliteChecksums, ADamagedAliasIsMarkedUntilItIsSetAgain) {
  RowId space = 0;
  const auto set = [&](JobTransaction& tx) {
    space = Must(tx.EnsureNamespace("n"));
    return tx.PutAlias({space, "p", "name", Must(tx.InsertJob(TestJob(space, 9)))});
  };
  Must(Open()->WriteAndWait(set));
  const auto damaged = [&] {
    std::vector<bool> out;
    Must(Open()->Read([&](JobReader& reader) -> absl::Status {
      for (const AliasRow& row : Must(reader.ListAllAliases({}, 10))) out.push_back(row.damaged);
      out.push_back(Must(reader.FindAlias(space, "p", "name"))->damaged);
      return absl::OkStatus();
    }));
    return out;
  };
  EXPECT_EQ(damaged(), (std::vector{false, false}));
  for (const char* change : {"job = job + 1", "checksum = checksum + 1"}) {
    Execute(std::string("UPDATE aliases SET ") + change);
    EXPECT_EQ(damaged(), (std::vector{true, true})) << change;
    Must(Open()->WriteAndWait([&](JobTransaction& tx) {
      return tx.PutAlias({space, "p", "name", 1});
    }));
    EXPECT_EQ(damaged(), (std::vector{false, false})) << change;
  }
}

TEST_F(SqliteChecksums, ADamagedValueIsNoneUntilItIsPutAgain) {
  const auto put = [](JobTransaction& tx) -> absl::Status {
    const BlobRow blob = TestBlob(1, "pack");
    const auto known = Must(tx.FindBlob(blob.name));
    return tx.PutValue(TestDigest(5), known ? known->id : Must(tx.InsertBlob(blob)));
  };
  const auto look = [&] {
    std::pair<bool, std::vector<bool>> found;
    Must(Open()->Read([&](JobReader& reader) -> absl::Status {
      found.first = Must(reader.FindValue(TestDigest(5))).has_value();
      for (const ValueRow& row : Must(reader.ListValues(std::nullopt, 10)))
        found.second.push_back(row.damaged);
      return absl::OkStatus();
    }));
    return found;
  };
  Must(Open()->WriteAndWait(put));
  Must(Open()->WriteAndWait(
      [](JobTransaction& tx) { return tx.InsertBlob(TestBlob(2, "pack")).status(); }));
  EXPECT_EQ(look(), std::pair(true, std::vector{false}));
  Execute("UPDATE value_digests SET blob = blob + 1");  // to another that is there
  EXPECT_EQ(look(), std::pair(false, std::vector{true}));
  Must(Open()->WriteAndWait(put));
  EXPECT_EQ(look(), std::pair(true, std::vector{false}));
}

// A byte that changes on the disk changes the row and not its index, unlike SQL.
TEST_F(SqliteChecksums, AnAliasThatItsIndexDoesNotKnowAnyMoreStopsNoOtherWrite) {
  constexpr RowId kJob = 0x11223344;
  const auto set = [&](JobTransaction& tx) { return tx.PutAlias({1, "p", "name", kJob}); };
  Write();
  Execute(
      "PRAGMA foreign_keys = OFF; UPDATE jobs SET id = 287454020; UPDATE job_records SET job = "
      "287454020");
  Must(Open()->WriteAndWait(set));
  const auto damaged = [&] {
    bool out = false;
    Must(Open()->Read([&](JobReader& reader) -> absl::Status {
      const auto row = reader.FindAlias(1, "p", "name");
      out = row.ok() && *row && (*row)->damaged;
      return absl::OkStatus();
    }));
    return out;
  };
  std::string file;
  {
    std::ifstream in(folder_.file(), std::ios::binary);
    file.assign(std::istreambuf_iterator<char>(in), {});
  }
  // The number is in the table and in indexes: the first place where the alias then differs is the
  // table's.
  const std::string number = "\x11\x22\x33\x44";
  size_t at = 0;
  do {
    at = file.find(number, at + 1);
    ASSERT_NE(at, std::string::npos);
    std::string changed = file;
    changed[at + 3] ^= 1;
    std::ofstream(folder_.file(), std::ios::binary) << changed;
  } while (!damaged());
  const auto database = Open();
  EXPECT_EQ(database->WriteAndWait(set).code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(
      database->WriteAndWait([](JobTransaction& tx) { return tx.DeleteAlias(1, "p", "name"); })
          .code(),
      absl::StatusCode::kDataLoss);
  Must(database->WriteAndWait(
      [](JobTransaction& tx) { return tx.InsertJob(TestJob(1, 77)).status(); }));
}

TEST_F(SqliteChecksums, ALeaseOfTheSecondSchemaTellsItsJobWhatIsKept) {
  {
    SqliteConnection connection({.file = folder_.file()}, SqliteConnection::Role::kWriter);
    Must(Migrate(connection, Migrations().first(2)));
  }
  Execute(
      "INSERT INTO namespaces VALUES (1, 'n');"
      "INSERT INTO jobs VALUES (1, 1, zeroblob(32), 1, 1, 0, 0, 0, 0, 0, '', 'f', '', 0, 0, 77);"
      "INSERT INTO jobs VALUES (2, 1, randomblob(32), 1, 2, 0, 0, 0, 0, 0, '', 'f', '', 0, 0, 0);"
      "INSERT INTO leases VALUES (1, 'a', 1, 1, '', 30000000, 0, 0), (2, 'b', 2, 1, '', 30000000, "
      "0, 1)");
  Must(Open()->Read([](JobReader& reader) -> absl::Status {
    EXPECT_FALSE(Must(reader.FindJob(1))->keep);
    EXPECT_TRUE(Must(reader.FindJob(2))->keep);
    EXPECT_EQ(Must(reader.FindLease(1))->lease_id, "a");
    return absl::OkStatus();
  }));
}

TEST_F(SqliteChecksums, RowsOfTheFirstSchemaHaveNone) {
  {
    SqliteConnection connection({.file = folder_.file()}, SqliteConnection::Role::kWriter);
    Must(Migrate(connection, Migrations().first(1)));
  }
  Execute(
      "INSERT INTO namespaces VALUES (1, 'n');"
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

TEST_F(SqliteChecksums, AValueOfAnotherJobOrOfAnEarlierSchemaIsNotFoundByOneLook) {
  RowId space = 0;
  std::array<Digest, 2> keys;
  Must(Open()->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
    space = Must(tx.EnsureNamespace("two"));
    for (uint64_t n = 0; n < keys.size(); ++n) {
      JobRow job = TestJob(space, 100 + n);
      keys[n] = job.key;
      ResultRow result = TestResult(Must(tx.InsertJob(job)), n);
      result.kind = ResultKind::kValue;
      Must(tx.PutResult(result));
    }
    return absl::OkStatus();
  }));
  const auto found = [&](size_t n) {
    bool is = false;
    Must(Open()->Read([&](JobReader& reader) -> absl::Status {
      is = Must(reader.FindValueOf(space, keys[n])).has_value();
      return absl::OkStatus();
    }));
    return is;
  };
  EXPECT_TRUE(found(0) && found(1));
  // An index that leads to the wrong rows.
  Execute("UPDATE jobs SET key = randomblob(32) WHERE key = x'" + Hex(keys[0]) + "'");
  Execute("UPDATE jobs SET key = x'" + Hex(keys[0]) + "' WHERE key = x'" + Hex(keys[1]) + "'");
  EXPECT_FALSE(found(0));
  Execute("UPDATE jobs SET key = x'" + Hex(keys[1]) + "' WHERE key = x'" + Hex(keys[0]) + "'");
  EXPECT_TRUE(found(1));
  Execute("UPDATE results SET job_checksum = 0");
  EXPECT_FALSE(found(1));
}

}  // namespace
}  // namespace tiffin::server
