// The reserve on a disk of a size that the test chooses: a small tmpfs.
#include "server/disk_reserve.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mount.h>

#include <fstream>

namespace tiffin::server {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

class DiskReserveTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string text = (std::filesystem::temp_directory_path() / "tiffin-XXXXXX").string();
    folder_ = mkdtemp(text.data());
    if (mount("tmpfs", folder_.c_str(), "tmpfs", 0, "size=16M") != 0) {
      std::filesystem::remove(folder_);
      folder_.clear();
      GTEST_SKIP() << "mounting a tmpfs is not permitted here (root is needed)";
    }
    std::filesystem::create_directory(folder_ / "tmp");
  }
  void TearDown() override {
    if (folder_.empty()) return;
    reserve_.reset();
    umount2(folder_.c_str(), MNT_DETACH);
    std::filesystem::remove(folder_);
  }
  void Open() {
    auto reserve = DiskReserve::Open({folder_, 4 * kMiB, 2 * kMiB});
    ASSERT_TRUE(reserve.ok()) << reserve.status();
    reserve_ = *std::move(reserve);
  }
  // Never with less in between, as the watcher may look at any time.
  void Fill(uint64_t bytes) {
    const std::filesystem::path filler = folder_ / "filler";
    std::error_code error;
    const uintmax_t had = std::filesystem::file_size(filler, error);
    if (!error && had >= bytes) return std::filesystem::resize_file(filler, bytes);
    std::ofstream(filler, std::ios::app) << std::string(error ? bytes : bytes - had, 'x');
  }
  bool Reserved() {
    std::error_code error;
    return std::filesystem::file_size(folder_ / "reserve", error) == 4 * kMiB;
  }

  std::filesystem::path folder_;
  std::unique_ptr<DiskReserve> reserve_;
};

TEST_F(DiskReserveTest, IsGivenUpWhenFullAndMadeAgainWhenThereIsRoom) {
  Open();
  EXPECT_TRUE(reserve_->Check().ok());
  EXPECT_TRUE(Reserved());
  Fill(11 * kMiB);  // 1 MiB is left
  reserve_->Look();
  EXPECT_TRUE(absl::IsResourceExhausted(reserve_->Check()));
  EXPECT_FALSE(Reserved());
  EXPECT_TRUE(reserve_->state().full);
  EXPECT_GE(reserve_->state().free_bytes, 4 * kMiB) << "what was given up";
  Fill(10 * kMiB + kMiB / 2);  // room, but not for the reserve and some to spare
  reserve_->Look();
  EXPECT_FALSE(reserve_->Check().ok());
  Fill(1);
  reserve_->Look();
  EXPECT_TRUE(reserve_->Check().ok());
  EXPECT_TRUE(Reserved());
}

TEST_F(DiskReserveTest, ADiskTooSmallForOneRecoversAllTheSame) {
  auto reserve = DiskReserve::Open({folder_, 100 * kMiB, 2 * kMiB});
  ASSERT_TRUE(reserve.ok()) << reserve.status();
  EXPECT_TRUE((*reserve)->Check().ok());
  Fill(15 * kMiB);
  (*reserve)->Look();
  EXPECT_FALSE((*reserve)->Check().ok());
  Fill(13 * kMiB);
  EXPECT_FALSE((*reserve)->Check().ok()) << "a little more is too little";
  Fill(11 * kMiB);
  EXPECT_TRUE((*reserve)->Check().ok()) << "whoever asks looks";
}

TEST_F(DiskReserveTest, WhatWasGivenUpIsNotTakenForRoomByTheNextStart) {
  Open();
  Fill(11 * kMiB);
  reserve_->Look();
  ASSERT_FALSE(reserve_->Check().ok());
  reserve_.reset();
  Open();  // 5 MiB are free, of which 4 were the reserve
  EXPECT_FALSE(reserve_->Check().ok());
  Fill(1);
  EXPECT_TRUE(reserve_->Check().ok());
  EXPECT_TRUE(Reserved());
}

TEST_F(DiskReserveTest, AWriteThatWasTooLargeDoesNotMakeItFull) {
  Open();
  reserve_->MetFull();
  EXPECT_TRUE(reserve_->Check().ok());
}

TEST_F(DiskReserveTest, StartsOnAFullDiskByGivingUpWhatItHad) {
  Open();
  reserve_.reset();
  Fill(11 * kMiB);
  Open();
  EXPECT_FALSE(reserve_->Check().ok());
  EXPECT_FALSE(Reserved());
  Fill(1);
  reserve_->Look();
  EXPECT_TRUE(reserve_->Check().ok());
}

}  // namespace
}  // namespace tiffin::server
