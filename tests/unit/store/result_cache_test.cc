#include "server/store/result_cache.h"

#include <gtest/gtest.h>

namespace tiffin::server {
namespace {

std::shared_ptr<const FoundResult> Result(uint8_t n, size_t bytes) {
  auto found = std::make_shared<FoundResult>();
  for (const size_t i : {1, 4, 8}) found->key.bytes[i] = n;  // all of one shard
  found->result.row.record = std::string(bytes, 'x');
  return found;
}

TEST(ResultCache, KeepsWhatWasReadLastWithinItsBytes) {
  ResultCache cache(16 * 10'000);
  for (uint8_t n = 0; n < 100; ++n) {
    for (int times = 0; times < 2; ++times) cache.Add(1, Result(n, 1000), cache.Ticket());
    EXPECT_TRUE(cache.Find(1, Result(0, 0)->key)) << "read all the time";
  }
  EXPECT_LE(cache.bytes(), 10'000u);
  EXPECT_TRUE(cache.Find(1, Result(99, 0)->key));
  EXPECT_FALSE(cache.Find(1, Result(50, 0)->key));
  EXPECT_FALSE(cache.Find(2, Result(99, 0)->key)) << "of another namespace";
}

TEST(ResultCache, APassOverManyDoesNotDriveOutWhatIsReadAllTheTime) {
  ResultCache cache(16 * 10'000);
  for (uint8_t n = 1; n < 6; ++n) cache.Add(1, Result(n, 1000), cache.Ticket());
  const size_t before = cache.bytes();
  for (uint8_t n = 100; n < 250; ++n) cache.Add(1, Result(n, 1000), cache.Ticket());
  EXPECT_GE(cache.bytes(), before);
  for (uint8_t n = 1; n < 6; ++n) EXPECT_TRUE(cache.Find(1, Result(n, 0)->key)) << int{n};
  cache.Add(1, Result(249, 1000), cache.Ticket());
  EXPECT_TRUE(cache.Find(1, Result(249, 0)->key)) << "it was asked for again";
}

TEST(ResultCache, AReadThatBeganBeforeADropDoesNotEnter) {
  ResultCache cache(1 << 20);
  const uint64_t ticket = cache.Ticket();
  cache.Drop(1, Result(1, 0)->key);
  cache.Add(1, Result(1, 10), ticket);
  EXPECT_FALSE(cache.Find(1, Result(1, 0)->key));
  cache.Add(1, Result(1, 10), cache.Ticket());
  EXPECT_TRUE(cache.Find(1, Result(1, 0)->key));
  cache.Drop(1, Result(1, 0)->key);
  EXPECT_FALSE(cache.Find(1, Result(1, 0)->key));
}

TEST(ResultCache, OneLargeResultDoesNotDriveOutManySmallOnes) {
  ResultCache cache(16 * 10'000);
  cache.Add(1, Result(1, 100), cache.Ticket());
  cache.Add(1, Result(2, 9000), cache.Ticket());
  EXPECT_TRUE(cache.Find(1, Result(1, 0)->key));
  EXPECT_FALSE(cache.Find(1, Result(2, 0)->key));
}

}  // namespace
}  // namespace tiffin::server
