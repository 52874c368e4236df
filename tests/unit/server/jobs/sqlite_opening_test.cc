// Which files are opened, how, and what becomes of older ones.
#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

#include "server/jobs/sqlite_job_database.h"
#include "server/jobs/sqlite_schema.h"
#include "tests/contract/jobs/job_database_contract.h"
#include "tests/unit/server/jobs/sqlite_test_folder.h"

namespace tiffin::server {
namespace {

std::string BytesOf(const std::filesystem::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void Execute(const std::filesystem::path& file, const std::string& sql) {
  SQLite::Database database(file.string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  database.exec(sql);
}

int64_t Pragma(const std::filesystem::path& file, const std::string& name) {
  SQLite::Database database(file.string(), SQLite::OPEN_READONLY);
  return database.execAndGet("PRAGMA " + name).getInt64();
}

class SqliteOpening : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<JobDatabase>> Open() {
    return OpenSqliteJobDatabase({.file = folder_.file()});
  }
  // Opening is refused with that code and words, and the file stays as it is.
  void ExpectRefused(absl::StatusCode code, const std::string& words) {
    const std::string before = BytesOf(folder_.file());
    const absl::Status status = Open().status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_NE(std::string(status.message()).find(words), std::string::npos) << status;
    EXPECT_TRUE(BytesOf(folder_.file()) == before);
  }

  TestFolder folder_;
};

TEST_F(SqliteOpening, ANewFileHasTheMarksOfTiffin) {
  ASSERT_TRUE(Open().ok());
  EXPECT_EQ(Pragma(folder_.file(), "application_id"), kSqliteApplicationId);
  EXPECT_EQ(Pragma(folder_.file(), "user_version"), std::ssize(Migrations()));
  SQLite::Database database(folder_.file().string(), SQLite::OPEN_READONLY);
  EXPECT_EQ(database.execAndGet("PRAGMA journal_mode").getString(), "wal");
  EXPECT_EQ(database.execAndGet("PRAGMA integrity_check").getString(), "ok");
}

TEST_F(SqliteOpening, AnEmptyFileIsTakenForANewOne) {
  std::ofstream(folder_.file()).close();
  EXPECT_TRUE(Open().ok());
}

TEST_F(SqliteOpening, ANewerSchemaIsRefused) {
  ASSERT_TRUE(Open().ok());
  Execute(folder_.file(), "PRAGMA user_version = 99");
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "version 99");
}

TEST_F(SqliteOpening, TheDatabaseOfAnotherProgramIsRefused) {
  Execute(folder_.file(), "PRAGMA application_id = 7; CREATE TABLE jobs (key TEXT)");
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "not a database of tiffin");
}

TEST_F(SqliteOpening, AnUnmarkedDatabaseWithTablesIsRefused) {
  Execute(folder_.file(), "CREATE TABLE jobs (key TEXT)");
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "not a database of tiffin");
}

TEST_F(SqliteOpening, AFileThatIsNoDatabaseIsRefused) {
  std::ofstream(folder_.file()) << std::string(8192, 'x');
  ExpectRefused(absl::StatusCode::kFailedPrecondition, "not a database");
}

TEST_F(SqliteOpening, AFolderThatIsNotThereIsSaid) {
  const absl::Status status =
      OpenSqliteJobDatabase({.file = folder_.file() / "below" / "tiffin.db"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  EXPECT_NE(std::string(status.message()).find("below"), std::string::npos) << status;
}

TEST_F(SqliteOpening, TheLastToCloseLeavesNoLog) {
  {
    auto database = Must(Open());
    Must(database->WriteAndWait([](JobTransaction& tx) {
      return tx.PutPack({"pack", PackState::kOpen});
    }));
    EXPECT_GT(std::filesystem::file_size(folder_.log()), 0u);
    EXPECT_EQ(database->DiskBytes(), std::filesystem::file_size(folder_.file()) +
                                         std::filesystem::file_size(folder_.log()));
    database->Close();
    EXPECT_EQ(std::filesystem::file_size(folder_.log()), 0u);
  }
  EXPECT_FALSE(std::filesystem::exists(folder_.log()));
}

class SqliteMigrations : public ::testing::Test {
 protected:
  // Migrates the file as a program would that knows these versions.
  absl::Status MigrateTo(std::vector<Migration> migrations) {
    SqliteConnection writer({.file = folder_.file()}, SqliteConnection::Role::kWriter);
    return Migrate(writer, migrations);
  }
  int64_t Number(const char* sql) {
    return SQLite::Database(folder_.file().string()).execAndGet(sql).getInt64();
  }

  TestFolder folder_;
  const Migration first_ = {"CREATE TABLE t (a INTEGER); INSERT INTO t VALUES (1)"};
  const Migration second_ = {"ALTER TABLE t ADD COLUMN b INTEGER; UPDATE t SET b = a + 1"};
  const Migration third_ = {"UPDATE t SET a = b * 10"};
  const Migration broken_ = {"UPDATE t SET a = 99; INSERT INTO nowhere VALUES (1)"};
};

TEST_F(SqliteMigrations, RunForwardInOrder) {
  Must(MigrateTo({first_, second_, third_}));
  EXPECT_EQ(Number("SELECT a FROM t"), 20);
  EXPECT_EQ(Number("PRAGMA user_version"), 3);
  EXPECT_EQ(Number("PRAGMA application_id"), kSqliteApplicationId);
}

TEST_F(SqliteMigrations, RunOnlyWhatIsMissing) {
  Must(MigrateTo({first_}));
  EXPECT_EQ(Number("PRAGMA user_version"), 1);
  Must(MigrateTo({first_, second_, third_}));
  Must(MigrateTo({first_, second_, third_}));
  EXPECT_EQ(Number("SELECT a FROM t"), 20);
  EXPECT_EQ(Number("SELECT count(*) FROM t"), 1);
}

TEST_F(SqliteMigrations, AFailedStepLeavesTheVersionBefore) {
  EXPECT_FALSE(MigrateTo({first_, second_, broken_}).ok());
  EXPECT_EQ(Number("PRAGMA user_version"), 2);
  EXPECT_EQ(Number("SELECT a FROM t"), 1);
  Must(MigrateTo({first_, second_, third_}));
  EXPECT_EQ(Number("SELECT a FROM t"), 20);
}

TEST_F(SqliteMigrations, NeverRunBackward) {
  Must(MigrateTo({first_, second_}));
  EXPECT_EQ(MigrateTo({first_}).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Number("PRAGMA user_version"), 2);
}

}  // namespace
}  // namespace tiffin::server
