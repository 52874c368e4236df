#include "client/cli/noodles_database.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>

#include "common/json.h"
#include "tests/support/test_data.h"

namespace tiffin::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using ::tiffin::testing::At;
using ::tiffin::testing::ReadTestData;
using ::tiffin::testing::StringAt;
using ::tiffin::testing::TestJson;
using ::tiffin::testing::TestJsonLines;
using Kind = NoodlesRow::Kind;
using MadeDatabase = absl::StatusOr<std::unique_ptr<NoodlesDatabase>>;

SQLite::Database InMemory(const std::string& sql) {
  SQLite::Database database(":memory:", SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
  database.exec(sql);
  return database;
}

// A database that Noodles made, changed by `sql`.
MadeDatabase Changed(const std::string& sql, const std::string& printer = "json") {
  return NoodlesDatabase::Make(
      InMemory(ReadTestData("noodles-database-" + printer + ".sql") + ";" + sql), "jobs.db");
}

std::vector<int64_t> IdsOf(NoodlesDatabase& database) {
  std::vector<int64_t> ids;
  for (auto id = database.NextId(std::nullopt); id.ok() && id->has_value();
       id = database.NextId(ids.back())) {
    ids.push_back(**id);
  }
  return ids;
}

// Why a row cannot be read after `sql`.
std::string FaultOf(int64_t id, const std::string& sql) {
  MadeDatabase database = Changed(sql);
  if (!database.ok()) return std::string(database.status().message());
  const absl::StatusOr<NoodlesRow> row = (*database)->Read(id);
  return row.ok() ? "it can be read" : std::string(row.status().message());
}

class RealDatabase : public ::testing::TestWithParam<std::string> {};

TEST_P(RealDatabase, EachRowIsWhatNoodlesMadeIt) {
  const MadeDatabase database = Changed("", GetParam());
  ASSERT_TRUE(database.ok()) << database.status();
  const NoodlesProfile profile =
      GetParam() == "json" ? NoodlesProfile::kJson : NoodlesProfile::kUjson;
  std::map<Kind, int> kinds;
  for (const int64_t id : IdsOf(**database)) {
    const absl::StatusOr<NoodlesRow> row = (*database)->Read(id);
    ASSERT_TRUE(row.ok()) << row.status();
    EXPECT_EQ(row->id, id);
    ++kinds[row->kind];
    if (row->kind != Kind::kResult && row->kind != Kind::kWorkflow) continue;
    EXPECT_EQ(row->profile, profile) << id;
    EXPECT_EQ(NoodlesProv(row->job, profile).value(), row->prov) << id;
  }
  EXPECT_EQ(kinds, (std::map<Kind, int>{{Kind::kResult, 17},
                                        {Kind::kWorkflow, 6},
                                        {Kind::kFinal, 2},
                                        {Kind::kDuplicate, 2},
                                        {Kind::kUnfinished, 1}}));
  EXPECT_EQ((*database)->LastId().value(), 28);
}

TEST_P(RealDatabase, AWorkflowIsLinkedAndItsCopyToo) {
  const MadeDatabase database = Changed("", GetParam());
  ASSERT_TRUE(database.ok()) << database.status();
  const NoodlesRow workflow = (*database)->Read(6).value();
  EXPECT_EQ(workflow.kind, Kind::kWorkflow);
  EXPECT_EQ(workflow.link, 10);
  const NoodlesRow copy = (*database)->Read(11).value();
  EXPECT_EQ(copy.kind, Kind::kResult);
  EXPECT_EQ(copy.link, 6);
  EXPECT_EQ(copy.key, workflow.key);
  EXPECT_EQ(copy.result, Value(6));
}

// The column makes text of a number.
TEST_P(RealDatabase, TheVersionIsTheOneThatGivesProv) {
  const MadeDatabase database = Changed("", GetParam());
  ASSERT_TRUE(database.ok()) << database.status();
  const NoodlesRow number = (*database)->Read(13).value();
  const NoodlesRow text = (*database)->Read(14).value();
  EXPECT_EQ(*PartsOfJob(number.job)->version, Value(7));
  EXPECT_EQ(*PartsOfJob(text.job)->version, Value("7"));
}

TEST_P(RealDatabase, ScriptsWithoutVersionAreMarked) {
  const MadeDatabase database = Changed("", GetParam());
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_FALSE((*database)->Read(27)->unversioned_main);
  EXPECT_TRUE((*database)->Read(28)->unversioned_main);
}

INSTANTIATE_TEST_SUITE_P(Printers, RealDatabase, ::testing::Values("json", "ujson"),
                         [](const auto& printer) { return printer.param; });

// The row that Noodles makes of a job record.
void Insert(const Value& record, const std::string& prov, const JsonStyle& style,
            SQLite::Database* database) {
  const JobParts parts = PartsOfJob(record).value();
  SQLite::Statement insert(
      *database,
      "INSERT INTO jobs (id, session, status, prov, version, function, arguments, "
      "result) VALUES (100, 1, 2, ?, ?, ?, ?, '1')");
  insert.bind(1, prov);
  if (const Value* version = parts.version; version == nullptr) {
    insert.bind(2);
  } else if (version->if_string() != nullptr) {
    insert.bind(2, *version->if_string());
  } else if (version->if_double() != nullptr) {
    insert.bind(2, *version->if_double());
  } else {
    insert.bind(2, *version->if_int64());
  }
  insert.bind(3, PrintJson(*parts.function, style));
  insert.bind(4, PrintJson(*parts.arguments, style));
  insert.exec();
}

NoodlesRow RowOf(const Value& record, const std::string& prov, const JsonStyle& style) {
  SQLite::Database database = InMemory(ReadTestData("noodles-database-json.sql"));
  Insert(record, prov, style, &database);
  MadeDatabase made = NoodlesDatabase::Make(std::move(database), "jobs.db");
  EXPECT_TRUE(made.ok()) << made.status();
  absl::StatusOr<NoodlesRow> row = (*made)->Read(100);
  EXPECT_TRUE(row.ok()) << row.status();
  return row.ok() ? *std::move(row) : NoodlesRow();
}

TEST(NoodlesDatabase, TheKeyIsThatOfTheRecordThatWasSubmitted) {
  const Value golden = TestJson("noodles-golden.json");
  for (const NoodlesProfile profile : {NoodlesProfile::kJson, NoodlesProfile::kUjson}) {
    const bool json = profile == NoodlesProfile::kJson;
    const Value& jobs = At(At(At(golden, "profiles"), json ? "json" : "ujson"), "jobs");
    for (const auto& [name, job] : *jobs.if_object()) {
      const Value record = ParseJson(StringAt(job, "text")).value();
      const NoodlesRow row =
          RowOf(record, StringAt(job, "prov"), json ? JsonStyle::Python() : JsonStyle::Ujson());
      EXPECT_EQ(row.profile, profile) << name;
      EXPECT_EQ(row.key, JobKey(record, {.allow_unversioned_main = true}).value()) << name;
    }
  }
}

TEST(NoodlesDatabase, TheKeysOfARecordedRunAreThoseOfItsRecords) {
  int jobs = 0;
  for (const Value& line : TestJsonLines("noodles-jobs.jsonl")) {
    if (StringAt(line, "event") != "submit" || ++jobs % 10 != 0) continue;
    const Value& record = At(line, "job");
    const NoodlesRow row = RowOf(record, StringAt(line, "prov"), JsonStyle::Python());
    EXPECT_TRUE(row.profile.has_value()) << PrintJson(record);
    EXPECT_EQ(row.key, JobKey(record, {.allow_unversioned_main = true}).value());
  }
  EXPECT_GT(jobs, 300);
}

TEST(NoodlesDatabase, AProvThatNothingGivesHasNoProfile) {
  const MadeDatabase database = Changed("UPDATE jobs SET function = '\"other\"' WHERE id = 1");
  EXPECT_EQ((*database)->Read(1)->profile, std::nullopt);
}

TEST(NoodlesDatabase, NamesFileRowAndColumnOfWhatIsWrong) {
  EXPECT_EQ(FaultOf(1, "UPDATE jobs SET result = NULL WHERE id = 1"),
            "jobs.db: row 1, column result: expected JSON text, found NULL");
  EXPECT_EQ(FaultOf(1, "UPDATE jobs SET result = x'00ff' WHERE id = 1"),
            "jobs.db: row 1, column result: expected JSON text, found a blob");
  EXPECT_THAT(FaultOf(1, "UPDATE jobs SET result = '[1' WHERE id = 1"),
              StartsWith("jobs.db: row 1, column result: "));
  EXPECT_THAT(FaultOf(1, "UPDATE jobs SET function = 'f' WHERE id = 1"),
              StartsWith("jobs.db: row 1, column function: "));
  EXPECT_EQ(FaultOf(1, "UPDATE jobs SET arguments = NULL WHERE id = 1"),
            "jobs.db: row 1, column arguments: expected JSON text, found NULL");
  EXPECT_EQ(FaultOf(1, "UPDATE jobs SET prov = NULL WHERE id = 1"),
            "jobs.db: row 1, column prov: expected text, found NULL");
  EXPECT_EQ(FaultOf(1, "UPDATE jobs SET version = x'37' WHERE id = 1"),
            "jobs.db: row 1, column version: expected text or NULL, found a blob");
  EXPECT_EQ(FaultOf(1, "UPDATE jobs SET version = cast(x'ff' AS text) WHERE id = 1"),
            "jobs.db: row 1, column version: is no UTF-8");
  EXPECT_EQ(FaultOf(1, "UPDATE jobs SET status = NULL WHERE id = 1"),
            "jobs.db: row 1, column status: expected an integer, found NULL");
  EXPECT_EQ(FaultOf(1, "UPDATE jobs SET status = 'done' WHERE id = 1"),
            "jobs.db: row 1, column status: expected an integer, found text");
  EXPECT_EQ(FaultOf(1, "UPDATE jobs SET status = 6 WHERE id = 1"),
            "jobs.db: row 1, column status: Noodles has no status 6");
  EXPECT_EQ(FaultOf(2, "UPDATE jobs SET link = NULL WHERE id = 2"),
            "jobs.db: row 2, column link: expected the id of a row, found NULL");
  EXPECT_EQ(FaultOf(6, "UPDATE jobs SET link = 1.5 WHERE id = 6"),
            "jobs.db: row 6, column link: expected the id of a row, found a real number");
}

TEST(NoodlesDatabase, NamesThePathOfAMalformedRecord) {
  const std::string bad_ref =
      R"({"_noodles":"0.3.0","type":"<object>","class":"numpy.ndarray","ref":true,)"
      R"("data":{"hdf5_path":"short","dtype":"int64","shape":[1]}})";
  EXPECT_THAT(FaultOf(1, "UPDATE jobs SET result = '[" + bad_ref + "]' WHERE id = 1"),
              StartsWith("jobs.db: row 1, column result: [0].data.hdf5_path: "));
  EXPECT_THAT(FaultOf(1, "UPDATE jobs SET arguments = '[" + bad_ref + "]' WHERE id = 1"),
              StartsWith("jobs.db: row 1, column arguments: data.arguments[0].data.hdf5_path: "));
}

TEST(NoodlesDatabase, ARowThatIsNotThereIsNotFound) {
  const MadeDatabase database = Changed("");
  EXPECT_TRUE(absl::IsNotFound((*database)->Read(99).status()));
  EXPECT_EQ((*database)->NextId(28).value(), std::nullopt);
}

TEST(NoodlesDatabase, TheLeastAndTheGreatestIdsAreRead) {
  const MadeDatabase database = Changed(
      "DELETE FROM jobs; INSERT INTO jobs (id, session, status) VALUES "
      "(-9223372036854775808, 1, 0), (9223372036854775807, 1, 0)");
  EXPECT_EQ(IdsOf(**database), (std::vector<int64_t>{INT64_MIN, INT64_MAX}));
}

TEST(NoodlesDatabase, TextsBeyondWhatAServerTakesAreRefused) {
  EXPECT_THAT(
      FaultOf(1,
              "UPDATE jobs SET result = '\"' || replace(hex(zeroblob(9000000)), '0', 'a') || "
              "'\"' WHERE id = 1"),
      StartsWith("jobs.db: row 1, column result: "));
  // Such a text is not even read.
  EXPECT_EQ(FaultOf(1, "UPDATE jobs SET arguments = zeroblob(60000000) WHERE id = 1"),
            "jobs.db: row 1, column arguments: is too large; 16777216 bytes are the limit");
}

std::string RefusalOf(const std::string& sql) {
  const MadeDatabase database = NoodlesDatabase::Make(InMemory(sql), "jobs.db");
  return database.ok() ? "taken" : std::string(database.status().message());
}

constexpr char kColumns[] = "status, prov, version, function, arguments, result, link";

TEST(NoodlesDatabase, RefusesOtherTables) {
  const std::string no = "jobs.db: is no job database of Noodles 0.3: ";
  EXPECT_EQ(RefusalOf(""), no + "it has no table jobs");
  EXPECT_EQ(RefusalOf("CREATE TABLE jobs (id INTEGER PRIMARY KEY, prov, link, version, function, "
                      "arguments, result)"),  // Noodles 0.2
            no + "its table jobs has no column status");
  EXPECT_EQ(RefusalOf(std::string("CREATE TABLE jobs (id, ") + kColumns + ")"),
            no + "its table jobs has no column id that is its key");
}

// What stands in such a table would run when it is read.
TEST(NoodlesDatabase, RefusesTablesThatAreProgrammes) {
  const std::string no = "jobs.db: is no job database of Noodles 0.3: ";
  EXPECT_EQ(
      RefusalOf("CREATE VIEW jobs AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 "
                "FROM n) SELECT id, 2 AS status FROM n"),
      no + "it has no table jobs");
  EXPECT_EQ(RefusalOf("CREATE VIRTUAL TABLE jobs USING fts5(id)"), no + "it has no table jobs");
  EXPECT_EQ(RefusalOf("CREATE TABLE jobs (id INTEGER PRIMARY KEY, status, prov, version, function, "
                      "arguments, link, result AS (hex(zeroblob(1000000000))))"),
            no + "its table jobs has no column result");
}

TEST(NoodlesDatabase, NothingElseOfTheSchemaIsRun) {
  std::string sql;
  for (int i = 1; i < 200; ++i) {  // doubles with each
    sql += "CREATE VIEW v" + std::to_string(i) + " AS SELECT * FROM v" + std::to_string(i - 1) +
           " UNION ALL SELECT * FROM v" + std::to_string(i - 1) + ";";
  }
  const MadeDatabase database =
      Changed("CREATE VIEW v0 AS SELECT * FROM jobs;" + sql +
              "CREATE INDEX evil ON jobs (abs(status - 9223372036854775807)) WHERE id > 1000;"
              "CREATE TRIGGER t AFTER UPDATE ON jobs BEGIN DELETE FROM jobs; END;");
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_EQ(IdsOf(**database).size(), 28u);
  EXPECT_TRUE((*database)->Read(1).ok());
}

TEST(NoodlesDatabase, NothingIsWritten) {
  SQLite::Database database = InMemory(ReadTestData("noodles-database-json.sql"));
  sqlite3* handle = database.getHandle();
  const MadeDatabase made = NoodlesDatabase::Make(std::move(database), "jobs.db");
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(sqlite3_exec(handle, "DELETE FROM jobs", nullptr, nullptr, nullptr), SQLITE_READONLY);
}

class NoodlesFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "noodles-" + std::to_string(::getpid()) + "-" +
              ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directory(folder_);
    file_ = folder_ + "/jobs.db";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void Write(const std::string& sql) {
    SQLite::Database database(file_, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE);
    database.exec(sql + ReadTestData("noodles-database-json.sql"));
  }

  std::string folder_, file_;
};

TEST_F(NoodlesFile, IsOpened) {
  Write("");
  const MadeDatabase database = NoodlesDatabase::Open(file_);
  ASSERT_TRUE(database.ok()) << database.status();
  EXPECT_EQ(IdsOf(**database).size(), 28u);
}

TEST_F(NoodlesFile, InWalModeIsRefused) {
  Write("PRAGMA journal_mode = WAL;");
  const MadeDatabase database = NoodlesDatabase::Open(file_);
  EXPECT_TRUE(absl::IsFailedPrecondition(database.status())) << database.status();
  EXPECT_THAT(std::string(database.status().message()), HasSubstr("WAL"));
}

TEST_F(NoodlesFile, OfAnotherKindIsRefused) {
  std::ofstream(file_) << std::string(2000, 'x');
  EXPECT_EQ(NoodlesDatabase::Open(file_).status(),
            absl::InvalidArgumentError(file_ + ": is no SQLite database"));
}

// Each page in turn is overwritten: all rows are read or told, and the damage is never silent.
TEST_F(NoodlesFile, EachRowOfADamagedFileIsReadOrTold) {
  constexpr size_t kPage = 1024;
  Write("PRAGMA page_size = 1024;");
  std::string whole;
  {
    std::ifstream in(file_, std::ios::binary);
    whole.assign(std::istreambuf_iterator<char>(in), {});
  }
  int told = 0;
  for (size_t page = 0; page < whole.size() / kPage; ++page) {
    std::string bytes = whole;
    bytes.replace(page * kPage, kPage, std::string(kPage, '\xa5'));
    std::ofstream(file_, std::ios::binary) << bytes;
    const MadeDatabase database = NoodlesDatabase::Open(file_);
    if (!database.ok()) {
      EXPECT_THAT(std::string(database.status().message()), StartsWith(file_ + ": "));
      ++told;
      continue;
    }
    size_t rows = 0;
    std::optional<int64_t> at;
    bool whole_table = false;
    while (true) {
      const absl::StatusOr<std::optional<int64_t>> next = (*database)->NextId(at);
      if (!next.ok()) {
        EXPECT_THAT(std::string(next.status().message()), StartsWith(file_ + ": "));
        ++told;
        break;
      }
      if (!next->has_value()) {
        whole_table = true;
        break;
      }
      at = *next;
      ++rows;
      const absl::StatusOr<NoodlesRow> row = (*database)->Read(*at);
      if (row.ok()) continue;
      EXPECT_THAT(std::string(row.status().message()),
                  StartsWith(file_ + ": row " + std::to_string(*at) + ", column "));
      ++told;
    }
    if (whole_table) {
      EXPECT_EQ(rows, 28u) << "page " << page;
    }
  }
  EXPECT_GT(told, 20);
}

}  // namespace
}  // namespace tiffin::cli
