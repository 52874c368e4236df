// A disk that is said to be full: what needs space is refused, what frees some and what reads goes
// on.
#include <gtest/gtest.h>

#include <atomic>

#include "server/jobs/sqlite_job_database.h"
#include "tests/contract/jobs/job_database_contract.h"
#include "tests/unit/server/jobs/sqlite_test_folder.h"

namespace tiffin::server {
namespace {

class SaidRoom : public DiskRoom {
 public:
  absl::Status Check() override {
    return full ? absl::ResourceExhaustedError("full, it is said") : absl::OkStatus();
  }
  void MetFull() override { ++met; }
  void Look() override {}
  State state() override { return {}; }
  std::atomic<bool> full{false};
  std::atomic<int> met{0};
};

TEST(SqliteRoom, AFullDiskRefusesGrowthAndLetsGo) {
  TestFolder folder;
  SaidRoom room;
  auto database = Must(OpenSqliteJobDatabase({.file = folder.file(), .room = &room}));
  RowId ns = 0, job = 0, blob = 0;
  ResultRow result;
  Must(database->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
    ns = Must(tx.EnsureNamespace("a"));
    job = Must(tx.InsertJob(TestJob(ns, 1)));
    blob = Must(tx.InsertBlob(TestBlob(1, "pack:s:0")));
    Must(tx.AddUse(job, blob, BlobUse::kResult));
    result.job = job;
    return tx.PutResult(result);
  }));
  room.full = true;
  const auto refused = [&](std::function<absl::Status(JobTransaction&)> change) {
    const absl::Status status = database->WriteAndWait(std::move(change));
    return absl::IsResourceExhausted(status);
  };
  EXPECT_TRUE(refused([&](JobTransaction& tx) { return tx.InsertJob(TestJob(ns, 2)).status(); }));
  EXPECT_TRUE(refused([&](JobTransaction& tx) { return tx.PutResult(result); }));
  EXPECT_TRUE(
      refused([&](JobTransaction& tx) { return tx.InsertBlob(TestBlob(2, "pack:s:9")).status(); }));
  EXPECT_TRUE(refused([&](JobTransaction& tx) {
    (void)tx.PutAlias({ns, "p", "n", job});  // whatever it returns, the operation is lost
    return absl::OkStatus();
  }));
  // A hit, and what frees space.
  Must(database->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
    EXPECT_EQ(Must(tx.EnsureNamespace("a")), ns);
    Must(tx.AddUse(job, blob, BlobUse::kResult));
    return absl::OkStatus();
  }));
  EXPECT_EQ(room.met, 4);  // told behind the answer
  Must(database->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
    Must(tx.UpdateJob(*Must(tx.FindJob(job))));
    Must(tx.DeleteResult(job));
    Must(tx.DropUses(job, BlobUse::kResult));
    Must(tx.DeleteBlob(blob));
    return tx.PutPack({"pack", PackState::kPending});
  }));
  room.full = false;
  Must(database->WriteAndWait([&](JobTransaction& tx) { return tx.PutResult(result); }));
  database->Close();
}

}  // namespace
}  // namespace tiffin::server
