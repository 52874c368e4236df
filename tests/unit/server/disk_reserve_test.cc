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
  void Fill(uint64_t bytes) {
    std::ofstream(folder_ / "filler") << std::string(bytes, 'x');
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
