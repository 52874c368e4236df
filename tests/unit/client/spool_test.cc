// Running jobs while no server is there.
#include "client/spool.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "client/client.h"

namespace tiffin {
namespace {

class SpoolTest : public testing::Test {
 protected:
  SpoolTest() {
    std::string name = testing::TempDir() + "/tiffin-spool-XXXXXX";
    folder_ = ::mkdtemp(name.data());
  }
  ~SpoolTest() override { std::filesystem::remove_all(folder_); }

  size_t Files(const std::string& extension) const {
    size_t n = 0;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      n += entry.path().extension() == extension;
    }
    return n;
  }
  // Nobody listens on port 1.
  Client Away(OnUnavailable what) {
    ClientOptions options;
    options.retry.patience = absl::ZeroDuration();
    options.on_unavailable = what;
    options.spool = folder_;
    return Client(connection_, options);
  }

  std::string folder_;
  const std::shared_ptr<Connection> connection_ = MakeGrpcConnection({.server = "127.0.0.1:1"});
  const Value job_ = Object{{"function", "f"}, {"arguments", List{Value(1)}}};
};

TEST_F(SpoolTest, RunComputesOnceAndKeepsTheResult) {
  int calls = 0;
  const auto value = Away(OnUnavailable::kCompute).Run(job_, [&] {
    ++calls;
    return Value(42);
  });
  ASSERT_TRUE(value.ok()) << value.status();
  EXPECT_EQ(*value, Value(42));
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(Files(".result"), 1u);
  Spool spool(folder_);
  const auto outcome = spool.Deliver(*connection_);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->left, 1u);
  EXPECT_EQ(Files(".result"), 1u) << "nothing is lost while the server is away";
}

TEST_F(SpoolTest, RunFailsIfThatIsWanted) {
  const auto value = Away(OnUnavailable::kFail).Run(job_, [] {
    ADD_FAILURE() << "called";
    return Value();
  });
  EXPECT_TRUE(absl::IsUnavailable(value.status()));
  EXPECT_EQ(Files(".result"), 0u);
}

TEST_F(SpoolTest, AFailureIsNotKept) {
  const auto value = Away(OnUnavailable::kCompute).Run(job_, []() -> absl::StatusOr<Value> {
    return absl::InternalError("no");
  });
  EXPECT_TRUE(absl::IsAborted(value.status()));
  EXPECT_EQ(Files(".result"), 0u);
}

TEST_F(SpoolTest, WhatIsNoResultIsSetAside) {
  std::ofstream(folder_ + "/a.result") << "\xff\xff";
  const auto outcome = Spool(folder_).Deliver(*connection_);
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->refused, 1u);
  EXPECT_EQ(Files(".refused"), 1u);
  EXPECT_EQ(Files(".why"), 1u);
}

}  // namespace
}  // namespace tiffin
