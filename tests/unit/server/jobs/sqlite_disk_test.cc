// What reaches the disk, when, from which thread; and a disk that breaks.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "absl/strings/str_cat.h"
#include "server/jobs/sqlite_job_database.h"
#include "tests/contract/jobs/job_database_contract.h"
#include "tests/unit/server/jobs/faulty_vfs.h"
#include "tests/unit/server/jobs/sqlite_test_folder.h"

namespace tiffin::server {
namespace {

class SqliteDisk : public ::testing::Test {
 protected:
  SqliteDisk() { options_.vfs = vfs_.name(); }

  void Open() {
    database_.reset();
    options_.file = folder_.file();
    database_ = Must(OpenSqliteJobDatabase(options_));
  }
  // The first transaction since the start, which copied the log, also syncs the head of a new one.
  void OpenAndBeginTheLog() {
    Open();
    Must(WriteLater(*database_, [](JobTransaction& tx) {
           return tx.PutPack({"first", PackState::kPending});
         }).get());
  }
  std::future<absl::Status> Add(const std::string& pack) {
    return WriteLater(*database_, [pack](JobTransaction& tx) {
      return tx.PutPack({pack, PackState::kOpen});
    });
  }
  // A job whose record is of that size.
  std::future<absl::Status> AddLarge(uint64_t n, size_t bytes) {
    return WriteLater(*database_, [=](JobTransaction& tx) -> absl::Status {
      JobRow job = TestJob(Must(tx.EnsureNamespace("a")), n);
      job.record = std::string(bytes, 'x');
      return tx.InsertJob(job).status();
    });
  }
  std::vector<std::string> Packs() {
    std::vector<std::string> names;
    Must(database_->Read([&](JobReader& reader) {
      for (const PackRow& pack : Must(reader.AllPacks(PackState::kOpen))) {
        names.push_back(pack.name);
      }
      return absl::OkStatus();
    }));
    return names;
  }

  TestFolder folder_;
  FaultyVfs vfs_;
  SqliteJobDatabaseOptions options_;
  std::unique_ptr<JobDatabase> database_;
};

TEST_F(SqliteDisk, EveryAcknowledgedOperationWasSynced) {
  OpenAndBeginTheLog();
  for (int i = 0; i < 5; ++i) {
    const int before = vfs_.log_syncs;
    Must(Add(absl::StrCat(i)).get());
    EXPECT_EQ(vfs_.log_syncs, before + 1);
  }
}

TEST_F(SqliteDisk, WhatQueuedDuringATransactionSharesTheNextSync) {
  OpenAndBeginTheLog();
  std::vector<std::future<absl::Status>> fates;
  HeldWriter held(*database_);
  for (int i = 0; i < 500; ++i) fates.push_back(Add(absl::StrCat(i)));
  const int before = vfs_.log_syncs;
  held.Release();
  for (auto& fate : fates) Must(fate.get());
  EXPECT_EQ(vfs_.log_syncs, before + 1);  // the one that was held changed nothing
}

TEST_F(SqliteDisk, ATransactionTakesNoMoreThanItsCap) {
  options_.max_batch = 10;
  OpenAndBeginTheLog();
  std::vector<std::future<absl::Status>> fates;
  HeldWriter held(*database_);
  // With the one that is held, which what comes meanwhile joins, 40.
  for (int i = 0; i < 39; ++i) fates.push_back(Add(absl::StrCat(i)));
  const int before = vfs_.log_syncs;
  held.Release();
  for (auto& fate : fates) Must(fate.get());
  EXPECT_EQ(vfs_.log_syncs, before + 4);
}

TEST_F(SqliteDisk, ATransactionTakesNoMoreBytesThanItsCap) {
  options_.max_batch_bytes = 100'000;
  OpenAndBeginTheLog();
  std::vector<std::future<absl::Status>> fates;
  HeldWriter held(*database_);
  for (uint64_t n = 0; n < 6; ++n) fates.push_back(AddLarge(n, 50'000));
  const int before = vfs_.log_syncs;
  held.Release();
  for (auto& fate : fates) Must(fate.get());
  EXPECT_EQ(vfs_.log_syncs, before + 3);
}

TEST_F(SqliteDisk, OnlyTheWritersThreadWritesTheFile) {
  options_.checkpoint_pages = 8;
  Open();
  vfs_.ForgetFileWriters();  // opening is another thread's
  std::thread::id writer;
  Must(database_->WriteAndWait([&](JobTransaction&) {
    writer = std::this_thread::get_id();
    return absl::OkStatus();
  }));

  std::atomic<bool> stop = false;
  std::vector<std::thread> readers;
  for (int i = 0; i < 3; ++i) {
    readers.emplace_back([&] {
      while (!stop) Packs();
    });
  }
  const int before = vfs_.file_syncs;
  for (uint64_t n = 0; n < 100; ++n) Must(AddLarge(n, 10'000).get());
  stop = true;
  for (std::thread& reader : readers) reader.join();
  database_.reset();

  EXPECT_GT(vfs_.file_syncs, before);
  EXPECT_EQ(vfs_.file_writers(), std::set<std::thread::id>{writer});
}

TEST_F(SqliteDisk, TheLogStartsAnewOnceItIsCopied) {
  options_.checkpoint_pages = 20;
  Open();
  for (uint64_t n = 0; n < 300; ++n) Must(AddLarge(n, 4'000).get());
  // 300 transactions of several pages each, and never more in the log than a few checkpoints'.
  EXPECT_LT(std::filesystem::file_size(folder_.log()), 8u * 20 * 4096);
}

TEST_F(SqliteDisk, AReadThatLastsDoesNotStopTheLogForGood) {
  options_.checkpoint_pages = 20;
  Open();
  Must(AddLarge(1000, 10).get());
  Must(database_->Read([&](JobReader& reader) {
    Must(reader.Counts());
    for (uint64_t n = 0; n < 60; ++n) Must(AddLarge(n, 4'000).get());
    EXPECT_GT(std::filesystem::file_size(folder_.log()), 40u * 4096);
    return absl::OkStatus();
  }));
  for (uint64_t n = 100; n < 200; ++n) Must(AddLarge(n, 4'000).get());
  EXPECT_LT(std::filesystem::file_size(folder_.log()), 100u * 4096);
}

TEST_F(SqliteDisk, AFullDiskFailsWritesAndSpaceHealsThem) {
  Open();
  Must(Add("before").get());

  vfs_.disk_full = true;
  for (const std::string name : {"lost1", "lost2"}) {
    const absl::Status status = Add(name).get();
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_EQ(Packs(), std::vector<std::string>{"before"});  // reads go on
  }

  vfs_.disk_full = false;
  Must(Add("later").get());
  Open();
  EXPECT_EQ(Packs(), (std::vector<std::string>{"before", "later"}));
}

TEST_F(SqliteDisk, WhatWasRefusedForWhatIsNotCommittedIsNotToldSo) {
  Open();
  Must(Add("before").get());
  const auto once = [&] {
    return WriteLater(*database_, [](JobTransaction& tx) -> absl::Status {
      if (Must(tx.FindPack("once"))) return absl::AlreadyExistsError("there");
      return tx.PutPack({"once", PackState::kOpen});
    });
  };
  for (const bool full : {true, false}) {
    HeldWriter held(*database_);
    auto first = once(), second = once();
    vfs_.disk_full = full;
    held.Release();
    EXPECT_EQ(first.get().code(),
              full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kOk);
    EXPECT_EQ(second.get().code(),
              full ? absl::StatusCode::kResourceExhausted : absl::StatusCode::kAlreadyExists);
  }
}

// A record larger than the cache is written before COMMIT: SQLite then ends the transaction itself.
TEST_F(SqliteDisk, AFullDiskInsideAnOperationFailsItsTransactionCleanly) {
  options_.writer_cache_kib = 64;
  Open();
  Must(AddLarge(1, 10).get());

  HeldWriter held(*database_);
  auto first = Add("first");
  auto large = AddLarge(2, 4 << 20);
  auto last = Add("last");
  vfs_.disk_full = true;
  held.Release();
  EXPECT_EQ(first.get().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(large.get().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(last.get().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(Packs().empty());

  vfs_.disk_full = false;
  Must(AddLarge(2, 4 << 20).get());
  Must(Add("last").get());
  Open();
  EXPECT_EQ(Packs(), std::vector<std::string>{"last"});
  Must(database_->Read([](JobReader& reader) {
    EXPECT_EQ(Must(reader.Counts()).jobs, 2);
    return absl::OkStatus();
  }));
}

TEST_F(SqliteDisk, AnEpochOfALostTransactionIsGivenAgain) {
  Open();
  const auto next = [&](int64_t& epoch) {
    return database_->WriteAndWait([&](JobTransaction& tx) {
      epoch = Must(tx.NextEpoch());
      return absl::OkStatus();
    });
  };
  int64_t epoch = 0;
  vfs_.disk_full = true;
  EXPECT_FALSE(next(epoch).ok());
  vfs_.disk_full = false;
  Must(next(epoch));
  EXPECT_EQ(epoch, 1);
}

TEST_F(SqliteDisk, AFailedSyncIsFatal) {
  Open();
  Must(Add("before").get());
  std::promise<absl::Status> fatal;
  database_->OnFatal([&](absl::Status status) { fatal.set_value(std::move(status)); });

  vfs_.log_sync_fails = true;
  EXPECT_EQ(Add("lost").get().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(fatal.get_future().get().code(), absl::StatusCode::kDataLoss);

  // The disk says it is well again, but what it lost nobody knows.
  vfs_.log_sync_fails = false;
  EXPECT_EQ(Add("later").get().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Packs(), std::vector<std::string>{"before"});

  Open();  // as a new process would
  Must(Add("later").get());
  EXPECT_EQ(Packs(), (std::vector<std::string>{"before", "later"}));
}

TEST_F(SqliteDisk, AFailedSyncOfACheckpointIsFatal) {
  options_.checkpoint_pages = 1;
  Open();
  std::promise<absl::Status> fatal;
  database_->OnFatal([&](absl::Status status) { fatal.set_value(std::move(status)); });
  vfs_.file_sync_fails = true;
  Must(Add("kept").get());  // the log has it
  EXPECT_EQ(fatal.get_future().get().code(), absl::StatusCode::kDataLoss);
  vfs_.file_sync_fails = false;
  Open();
  EXPECT_EQ(Packs(), std::vector<std::string>{"kept"});
}

}  // namespace
}  // namespace tiffin::server
