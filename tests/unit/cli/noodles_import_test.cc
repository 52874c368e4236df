// tiffin import in this process, over a server in memory.
#include "client/cli/noodles_import.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

#include "common/json.h"
#include "tests/support/test_data.h"
#include "tests/unit/client/fake_server.h"

namespace tiffin::cli {
namespace {

using ::testing::HasSubstr;
using ::tiffin::testing::At;
using ::tiffin::testing::FakeServer;
using ::tiffin::testing::MustParse;
using ::tiffin::testing::ReadTestData;

class Import : public ::testing::Test {
 protected:
  void SetUp() override {
    file_ = ::testing::TempDir() + "import-" + std::to_string(::getpid()) + "-" +
            ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".db";
    std::filesystem::remove(file_);
    SQLite::Database(file_, SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE)
        .exec(ReadTestData("noodles-database-json.sql"));
  }
  void TearDown() override { std::filesystem::remove(file_); }

  void Change(const std::string& sql) { SQLite::Database(file_, SQLite::OPEN_READWRITE).exec(sql); }

  // The exit code; lines_ has what was printed.
  int Run(std::vector<std::string> flags = {}) {
    std::istringstream in;
    std::ostringstream out, err;
    const Environment environment{.in = in,
                                  .out = out,
                                  .err = err,
                                  .terminal = false,
                                  .connect = [this](const ConnectionOptions&) { return server_; }};
    std::vector<std::string> arguments = {"--json", "--patience", "0", "import", file_};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    const int code = RunCli(std::move(arguments), environment);
    lines_.clear();
    std::istringstream printed(out.str());
    for (std::string line; std::getline(printed, line);) lines_.push_back(MustParse(line));
    err_ = err.str();
    return code;
  }
  // A count of the last line.
  int64_t Count(const std::string& name) {
    if (lines_.empty()) return -1;
    const int64_t* count = At(lines_.back(), name).if_int64();
    return count == nullptr ? -1 : *count;
  }
  int64_t RowsTold() {
    int64_t sum = 0;
    for (size_t i = 0; i < kRowOutcomes; ++i) {
      sum += Count(std::string(OutcomeText(static_cast<RowOutcome>(i))));
    }
    return sum;
  }

  std::shared_ptr<FakeServer> server_ = std::make_shared<FakeServer>();
  std::string file_, err_;
  std::vector<Value> lines_;
};

TEST_F(Import, EachRowHasOneOutcome) {
  EXPECT_EQ(Run(), kDone) << err_;
  EXPECT_EQ(RowsTold(), 28);
  EXPECT_EQ(Count("stored"), 15);
  EXPECT_EQ(Count("links"), 2);
  EXPECT_EQ(Count("aliases"), 15);
  // What was not imported is told by the row: 5 failed, 2 unfinished, 1 of a script.
  EXPECT_EQ(lines_.size(), 9u);
}

TEST_F(Import, AgainStoresNothing) {
  EXPECT_EQ(Run(), kDone) << err_;
  // The server in memory keeps a workflow as if it were the final value.
  const int stores = server_->Calls("StoreResult");
  Run();
  EXPECT_EQ(Count("stored"), 0);
  EXPECT_EQ(server_->Calls("StoreResult"), stores);
}

TEST_F(Import, ADryRunOnlyReads) {
  EXPECT_EQ(Run({"--dry-run"}), kDone) << err_;
  EXPECT_EQ(Count("stored"), 15);
  EXPECT_EQ(server_->Calls("SubmitBatch"), 0);
  EXPECT_EQ(server_->Calls("StoreResult"), 0);
  EXPECT_EQ(server_->Calls("Alias"), 2);  // lists both profiles
}

TEST_F(Import, ThousandsOfJobsTakeFewStreams) {
  Change(
      "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) "
      "INSERT INTO jobs (session, status, prov, version, function, arguments, result) "
      "SELECT 1, 2, 'none', '1', '\"f\"', '[' || i || ']', '1' FROM n");
  EXPECT_EQ(Run({"--any-prov"}), kDone) << err_;
  EXPECT_EQ(Count("stored"), 2515);
  EXPECT_EQ(Count("aliases"), 15);
  EXPECT_LE(server_->Calls("BatchGetResults"), 5);
  EXPECT_LE(server_->Calls("SubmitBatch"), 5);
}

TEST_F(Import, GoesOnWhereTheServerWasLost) {
  server_->FailNext("SubmitBatch", absl::UnavailableError("gone"));
  EXPECT_EQ(Run(), kUnreachable);
  EXPECT_THAT(err_, HasSubstr("import again to go on"));
  EXPECT_EQ(Count("stored"), 0);
  server_->FailNext("StoreResult", absl::UnavailableError("gone"));
  EXPECT_EQ(Run(), kUnreachable);
  const int64_t stored = Count("stored");
  EXPECT_LT(stored, 15);
  EXPECT_EQ(Run(), kDone) << err_ << PrintJson(Value(List(lines_)));
  EXPECT_EQ(Count("stored") + stored, 15);
  EXPECT_EQ(RowsTold(), 28);
}

TEST_F(Import, WhatTheServerRefusesIsToldAndTheRestStored) {
  server_->FailNext("StoreResult", absl::InvalidArgumentError("record: too odd"));
  EXPECT_EQ(Run(), kRefused);
  EXPECT_GE(Count("refused"), 1);  // and workflows whose result it is
  EXPECT_EQ(Count("stored") + Count("known") + Count("refused"), 16);
  EXPECT_THAT(PrintJson(Value(List(lines_))), HasSubstr("record: too odd"));
}

TEST_F(Import, RowsOfOneJobWithDifferentResultsDiffer) {
  Change(
      "INSERT INTO jobs (session, status, prov, version, function, arguments, result) "
      "SELECT session, status, prov, version, function, arguments, '13' FROM jobs WHERE id = 3");
  EXPECT_EQ(Run(), kRefused);
  EXPECT_EQ(Count("differs"), 1);
  EXPECT_EQ(Count("stored"), 15);
}

TEST_F(Import, AJobThatSomebodyComputesIsRefused) {
  absl::StatusOr<std::unique_ptr<NoodlesDatabase>> database = NoodlesDatabase::Open(file_);
  ASSERT_TRUE(database.ok()) << database.status();
  server_->HoldElsewhere((*database)->Read(3)->key);
  EXPECT_EQ(Run(), kRefused);
  EXPECT_EQ(Count("refused"), 1);
  EXPECT_THAT(PrintJson(Value(List(lines_))), HasSubstr("computes it now"));
}

}  // namespace
}  // namespace tiffin::cli
