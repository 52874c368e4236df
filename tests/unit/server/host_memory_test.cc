#include "server/host_memory.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace tiffin::server {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20, kGiB = uint64_t{1} << 30;

class HostMemoryTest : public testing::Test {
 protected:
  HostMemoryTest() {
    std::string text = (std::filesystem::temp_directory_path() / "tiffin-XXXXXX").string();
    root_ = mkdtemp(text.data());
    Write("proc/meminfo", "MemFree:  1 kB\nMemTotal:        8388608 kB\nMemAvailable: 2 kB\n");
  }
  ~HostMemoryTest() override { std::filesystem::remove_all(root_); }
  void Write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  std::filesystem::path root_;
};

TEST_F(HostMemoryTest, IsTheMachinesWithoutGroups) { EXPECT_EQ(HostMemory(root_), 8 * kGiB); }

TEST_F(HostMemoryTest, IsTheLeastOfTheGroupsOfVersionTwo) {
  Write("proc/self/cgroup", "0::/system.slice/tiffin.service\n");
  Write("sys/fs/cgroup/system.slice/tiffin.service/memory.max", "max\n");
  EXPECT_EQ(HostMemory(root_), 8 * kGiB);
  Write("sys/fs/cgroup/system.slice/memory.max", "3221225472\n");
  EXPECT_EQ(HostMemory(root_), 3 * kGiB);
  Write("sys/fs/cgroup/system.slice/tiffin.service/memory.max", "1073741824\n");
  EXPECT_EQ(HostMemory(root_), kGiB);
  Write("sys/fs/cgroup/system.slice/tiffin.service/memory.max", "99999999999999\n");
  EXPECT_EQ(HostMemory(root_), 3 * kGiB);
}

TEST_F(HostMemoryTest, IsThatOfAContainerWhichSeesItsOwnGroupAsTheTop) {
  Write("proc/self/cgroup", "0::/../of/the/host\n");
  Write("sys/fs/cgroup/memory.max", "2147483648\n");
  EXPECT_EQ(HostMemory(root_), 2 * kGiB);
}

TEST_F(HostMemoryTest, IsTheLeastOfTheGroupsOfVersionOne) {
  Write("proc/self/cgroup", "5:cpu,cpuacct:/a\n4:memory:/docker/c\n0::/\n");
  Write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_EQ(HostMemory(root_), 8 * kGiB);
  Write("sys/fs/cgroup/memory/docker/c/memory.limit_in_bytes", "536870912\n");
  EXPECT_EQ(HostMemory(root_), 512 * kMiB);
  Write("sys/fs/cgroup/cpu/a/memory.limit_in_bytes", "1\n");  // of another controller
  EXPECT_EQ(HostMemory(root_), 512 * kMiB);
}

TEST_F(HostMemoryTest, IsNothingWhereNobodySays) {
  std::filesystem::remove_all(root_ / "proc");
  EXPECT_EQ(HostMemory(root_), 0u);
  EXPECT_EQ(ResultCacheFor(0), 64 * kMiB);
}

TEST_F(HostMemoryTest, IsToldHere) { EXPECT_GE(HostMemory(), 64 * kMiB); }

TEST(ResultCacheFor, IsA64thWithinBounds) {
  EXPECT_EQ(ResultCacheFor(24 * kGiB), 384 * kMiB);
  EXPECT_EQ(ResultCacheFor(kGiB), 64 * kMiB);
  EXPECT_EQ(ResultCacheFor(1024 * kGiB), kGiB);
}

}  // namespace
}  // namespace tiffin::server
