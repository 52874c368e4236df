// A log that lost pages after its copying began is told from one that merely ends.
#include "server/jobs/sqlite_log_mark.h"

#include <SQLiteCpp/Database.h>
#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>

#include "tests/unit/server/jobs/sqlite_test_folder.h"

namespace tiffin::server {
namespace {

constexpr size_t kHeader = 32, kFrame = 24 + 4096;

class LogMarkTest : public ::testing::Test {
 protected:
  LogMarkTest() : database_(folder_.file().string(), SQLite::OPEN_READWRITE | SQLite::OPEN_CREATE) {
    database_.exec("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t (a)");
    for (int i = 0; i < 10; ++i) database_.exec("INSERT INTO t VALUES (randomblob(3000))");
  }
  uint32_t Pages() const {
    return static_cast<uint32_t>((std::filesystem::file_size(folder_.log()) - kHeader) / kFrame);
  }
  void Flip(size_t at) {
    std::fstream file(folder_.log(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get() ^ 1);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte);
  }
  absl::StatusOr<std::unique_ptr<LogMark>> Open() { return LogMark::Open(folder_.file()); }
  // As after a kill.
  bool Lost() {
    const absl::Status status = Open().status();
    EXPECT_TRUE(status.ok() || absl::IsDataLoss(status)) << status;
    EXPECT_EQ(status.message().find("--rebuild") != std::string::npos, !status.ok()) << status;
    return !status.ok();
  }

  TestFolder folder_;
  SQLite::Database database_;
};

TEST_F(LogMarkTest, ALogThatIsWholeIsSound) {
  ASSERT_TRUE((*Open())->Begin(Pages()).ok());
  EXPECT_FALSE(Lost());
  EXPECT_FALSE(Lost()) << "and stays marked";
}

TEST_F(LogMarkTest, EachPageThatWasCopiedCounts) {
  ASSERT_TRUE((*Open())->Begin(Pages()).ok());
  for (uint32_t page = 0; page < Pages(); ++page) {
    for (const size_t within : {size_t{0}, size_t{9}, size_t{17}, size_t{24}, kFrame - 1}) {
      const size_t at = kHeader + page * kFrame + within;
      Flip(at);
      EXPECT_TRUE(Lost()) << page << " " << within;
      Flip(at);
    }
  }
  for (size_t at = 0; at < kHeader; ++at) {
    Flip(at);
    EXPECT_TRUE(Lost()) << at;
    Flip(at);
  }
  std::filesystem::resize_file(folder_.log(), kHeader + (Pages() - 1) * kFrame);
  EXPECT_TRUE(Lost());
  std::filesystem::remove(folder_.log());
  EXPECT_TRUE(Lost());
}

TEST_F(LogMarkTest, WhatWasThereWhenItWasOpenedCountsThoughNobodySaysSo) {
  ASSERT_TRUE((*Open())->Begin(0).ok());
  Flip(kHeader + (Pages() - 1) * kFrame + 100);
  EXPECT_TRUE(Lost());
}

TEST_F(LogMarkTest, WhatFollowedTheCopyingDoesNotCount) {
  ASSERT_TRUE((*Open())->Begin(Pages()).ok());
  const size_t end = kHeader + Pages() * kFrame;
  database_.exec("INSERT INTO t VALUES (randomblob(3000))");
  Flip(end + 100);
  EXPECT_FALSE(Lost());
}

TEST_F(LogMarkTest, ACopyingThatHasEndedLeavesNothingToBeLost) {
  const auto mark = *Open();
  ASSERT_TRUE(mark->Begin(Pages()).ok());
  ASSERT_TRUE(mark->End().ok());
  Flip(kHeader + 100);
  EXPECT_FALSE(Lost());
}

// The database and its log as a kill now would leave them.
std::filesystem::path Killed(const TestFolder& from, const TestFolder& to) {
  for (const char* suffix : {"", "-wal"}) {
    std::filesystem::copy_file(from.file().string() + suffix, to.file().string() + suffix);
  }
  return to.file();
}

TEST_F(LogMarkTest, WhatABrokenCommitHasLeftDoesNotCount) {
  const uint32_t committed = Pages();
  database_.exec("PRAGMA cache_size = 1; BEGIN");
  for (int i = 0; i < 100; ++i) database_.exec("INSERT INTO t VALUES (randomblob(3000))");
  ASSERT_GT(Pages(), committed + 20)
      << "pages of a transaction that is not committed are in the log";
  const TestFolder killed;
  const std::filesystem::path file = Killed(folder_, killed);
  ASSERT_TRUE((*LogMark::Open(file))->Begin(0).ok());
  SQLite::Database again(file.string(), SQLite::OPEN_READWRITE);
  again.exec("PRAGMA wal_autocheckpoint = 0; INSERT INTO t VALUES (7)");  // over what was left
  EXPECT_TRUE(LogMark::Open(file).ok());
}

TEST_F(LogMarkTest, ANumberOfTheLogBeforeDoesNotCount) {
  const auto mark = *Open();
  ASSERT_TRUE(mark->Begin(Pages() + 100).ok());
  EXPECT_FALSE(Lost());
  Flip(kHeader + (Pages() - 1) * kFrame + 100);
  EXPECT_TRUE(Lost());
}

TEST_F(LogMarkTest, ALogThatWasEmptiedWasCopied) {
  ASSERT_TRUE((*Open())->Begin(Pages()).ok());
  std::filesystem::resize_file(folder_.log(), 0);
  EXPECT_FALSE(Lost());
  std::filesystem::remove(folder_.log());
  EXPECT_FALSE(Lost()) << "which was noted";
}

}  // namespace
}  // namespace tiffin::server
