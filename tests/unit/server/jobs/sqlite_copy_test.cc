// A copy of the database while others write.
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/jobs/sqlite_job_database.h"
#include "tests/contract/jobs/job_database_contract.h"
#include "tests/unit/server/jobs/sqlite_test_folder.h"

namespace tiffin::server {
namespace {

DatabaseCounts CountsOf(JobDatabase& database) {
  DatabaseCounts counts;
  Must(database.Read([&](JobReader& reader) -> absl::Status {
    counts = Must(reader.Counts());
    return absl::OkStatus();
  }));
  return counts;
}

TEST(SqliteCopy, HasWhatWasCommittedBeforeAndNothingOfWhatCameMeanwhile) {
  TestFolder folder, other;
  auto database = Must(OpenSqliteJobDatabase({.file = folder.file()}));
  uint64_t n = 0;
  const auto add = [&] {
    Must(database->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
      const RowId ns = Must(tx.EnsureNamespace("a"));
      for (int i = 0; i < 100; ++i) {
        JobRow job = TestJob(ns, ++n);
        job.record = std::string(20'000, 'r');
        Must(tx.InsertJob(job));
      }
      return tx.InsertBlob(TestBlob(static_cast<int>(n), absl::StrCat("pack", n, ":s:0"))).status();
    }));
  };
  for (int i = 0; i < 3; ++i) add();
  uint64_t bytes = 0, total = 0;
  int told = 0;
  const auto packs = database->CopyTo(other.file(), [&](uint64_t so_far, uint64_t of) {
    EXPECT_GE(so_far, bytes);
    bytes = so_far;
    total = of;
    if (++told < 4) add();
    return absl::OkStatus();
  });
  ASSERT_TRUE(packs.ok()) << packs.status();
  EXPECT_GT(told, 4);
  EXPECT_EQ(bytes, total);
  EXPECT_EQ(total, std::filesystem::file_size(other.file()));
  ASSERT_EQ(packs->size(), 3u);
  EXPECT_EQ((*packs)[0].pack, "pack100");
  EXPECT_EQ(CountsOf(*database).jobs, 600);
  auto copy = Must(OpenSqliteJobDatabase({.file = other.file()}));
  EXPECT_EQ(CountsOf(*copy).jobs, 300);
  EXPECT_EQ(CountsOf(*copy).blobs, 3);
  copy->Close();
  database->Close();
}

TEST(SqliteCopy, IsEndedByItsListener) {
  TestFolder folder, other;
  auto database = Must(OpenSqliteJobDatabase({.file = folder.file()}));
  EXPECT_TRUE(absl::IsCancelled(
      database
          ->CopyTo(other.file(), [](uint64_t, uint64_t) { return absl::CancelledError("enough"); })
          .status()));
  database->Close();
}

}  // namespace
}  // namespace tiffin::server
