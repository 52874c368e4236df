// Which folders a server takes. Permissions and the running server are tried in tests/e2e.
#include "server/data_folder.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <fstream>
#include <vector>

namespace tiffin::server {
namespace {

class DataFolderTest : public testing::Test {
 protected:
  DataFolderTest() {
    std::string text = (std::filesystem::temp_directory_path() / "tiffin-XXXXXX").string();
    path_ = mkdtemp(text.data());
  }
  ~DataFolderTest() override { std::filesystem::remove_all(path_); }
  std::string Refusal(const std::filesystem::path& path) {
    const auto folder = DataFolder::Open(path);
    EXPECT_EQ(folder.status().code(), absl::StatusCode::kFailedPrecondition) << folder.status();
    return std::string(folder.status().message());
  }
  std::filesystem::path path_;
};

TEST_F(DataFolderTest, ANewFolderIsMadeAndOwned) {
  const auto folder = DataFolder::Open(path_ / "a" / "b");
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_NE(Refusal(path_ / "a" / "b").find("another server owns"), std::string::npos);
}

TEST_F(DataFolderTest, ARelativePathIsMadeAbsolute) {
  const auto folder = DataFolder::Open(std::filesystem::relative(path_ / "a"));
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_TRUE((*folder)->path().is_absolute()) << (*folder)->path();
  EXPECT_TRUE(std::filesystem::equivalent((*folder)->path(), path_ / "a"));
}

TEST_F(DataFolderTest, AFolderOfSomethingElseIsLeftAlone) {
  std::ofstream(path_ / "thesis.tex") << "x";
  EXPECT_NE(Refusal(path_).find("it holds thesis.tex"), std::string::npos);
  EXPECT_FALSE(std::filesystem::exists(path_ / "LOCK"));
  // Others have a LOCK, and names like ours.
  std::ofstream(path_ / "LOCK") << "";
  EXPECT_NE(Refusal(path_).find("it holds thesis.tex"), std::string::npos);
  std::ofstream(path_ / "tiffin.dbx") << "";
  EXPECT_NE(Refusal(path_).find("but no tiffin.db"), std::string::npos);
  // One that was used before may hold more than its own.
  std::ofstream(path_ / "tiffin.db") << "";
  EXPECT_TRUE(DataFolder::Open(path_).ok());
}

TEST_F(DataFolderTest, FoldersThatAreSweptMakeNoFolderOurs) {
  std::filesystem::create_directory(path_ / "tmp");
  EXPECT_NE(Refusal(path_).find("it holds tmp"), std::string::npos);
}

TEST_F(DataFolderTest, AFolderStaysLockedWhenItsLockFileIsRemoved) {
  const auto folder = DataFolder::Open(path_);
  ASSERT_TRUE(folder.ok()) << folder.status();
  std::filesystem::remove(path_ / "LOCK");
  EXPECT_NE(Refusal(path_).find("though its LOCK is gone"), std::string::npos);
}

TEST_F(DataFolderTest, TheRootOfAFileSystemIsTaken) {
  std::filesystem::create_directory(path_ / "lost+found");
  EXPECT_TRUE(DataFolder::Open(path_).ok());
}

TEST_F(DataFolderTest, AFileIsNoFolder) {
  std::ofstream(path_ / "file") << "x";
  EXPECT_NE(Refusal(path_ / "file").find("ot a directory"), std::string::npos);
}

TEST_F(DataFolderTest, PacksWithoutADatabaseAreNotTakenForANewFolder) {
  std::filesystem::create_directories(path_ / "packs" / "ab");
  const auto folder = DataFolder::Open(path_);
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_TRUE((*folder)->CheckDatabase().ok());
  std::ofstream(path_ / "packs" / "ab" / "ab12.h5") << "x";
  const absl::Status status = (*folder)->CheckDatabase();
  EXPECT_NE(std::string(status.message()).find("--rebuild"), std::string::npos) << status;
  std::ofstream(path_ / "tiffin.db") << "x";
  EXPECT_TRUE((*folder)->CheckDatabase().ok());
}

TEST(NetworkFileSystems, AreKnownByTheirNumbers) {
  EXPECT_STREQ(NetworkFileSystem(0x6969), "NFS");
  EXPECT_STREQ(NetworkFileSystem(0xff534d42), "CIFS");
  const std::vector<int64_t> known = {0xef53, 0x58465342, 0x9123683e, 0x01021994, 0x794c7630};
  for (const int64_t local : known) {
    EXPECT_EQ(NetworkFileSystem(local), nullptr) << local;  // ext4, XFS, Btrfs, tmpfs, overlay
  }
}

}  // namespace
}  // namespace tiffin::server
