// Uploads through the catalogue.
#include <gtest/gtest.h>

#include <variant>

#include "tests/unit/store/store_fixture.h"

namespace tiffin::server {
namespace {

class BlobUploadsTest : public StoreFixture {
 protected:
  absl::StatusOr<std::unique_ptr<Upload>> Begin(const BlobName& name, uint64_t offset, bool gone) {
    auto begun = blobs_.BeginPut("default", name, true, offset, [gone] { return gone; });
    if (!begun.ok()) return begun.status();
    return std::move(std::get<std::unique_ptr<Upload>>(*begun));
  }
};

TEST_F(BlobUploadsTest, OneThatIsGivenUpWhileItIsResumedStaysAsItIs) {
  const std::string bytes(3 << 20, 'x');
  const BlobName name = Array{"uint8", {bytes.size()}, bytes}.Name();
  const std::string_view front = std::string_view(bytes).substr(0, 2 << 20),
                         rest = std::string_view(bytes).substr(2 << 20);
  auto first = Begin(name, 0, false);
  ASSERT_TRUE(first.ok()) << first.status();
  ASSERT_TRUE((*first)->Append({&front, 1}).ok());
  first->reset();
  EXPECT_TRUE(absl::IsCancelled(Begin(name, front.size(), true).status()));
  EXPECT_EQ(blobs_.QueryPut("default", name)->received, front.size());
  auto second = Begin(name, front.size(), false);
  ASSERT_TRUE(second.ok()) << second.status();
  ASSERT_TRUE((*second)->Append({&rest, 1}).ok());
  EXPECT_TRUE(blobs_.FinishPut("default", *std::move(second)).ok());
}

}  // namespace
}  // namespace tiffin::server
