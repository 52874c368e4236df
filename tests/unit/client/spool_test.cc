// Running jobs while no server is there.
#include "client/spool.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/client/client_fixture.h"

namespace tiffin::testing {
namespace {

class SpoolTest : public ClientTest {
 protected:
  SpoolTest() {
    std::string name = ::testing::TempDir() + "/tiffin-spool-XXXXXX";
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

  // Of server_, without patience.
  Client Near(absl::Duration deliver_every = absl::InfiniteDuration()) {
    ClientOptions options = Quick();
    options.retry.patience = absl::ZeroDuration();
    options.spool = folder_;
    options.deliver_every = deliver_every;
    return MakeClient(std::move(options));
  }
  static v1::StoreResultRequest ResultOf(int argument, std::string json) {
    v1::StoreResultRequest request;
    request.set_key(std::string(KeyOf(JobOf(argument)).view()));
    request.mutable_record()->set_json(std::move(json));
    return request;
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

TEST_F(SpoolTest, AWorkflowIsNotKept) {
  EXPECT_THAT(Away(OnUnavailable::kCompute).Run(job_, [] { return WorkflowRecord(); }),
              Fails(absl::StatusCode::kFailedPrecondition, "unfolds into a workflow"));
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

TEST_F(SpoolTest, WhatWasComputedIsKeptWhateverKeptTheServerFromTakingIt) {
  for (const absl::StatusCode code :
       {absl::StatusCode::kUnavailable, absl::StatusCode::kResourceExhausted,
        absl::StatusCode::kDeadlineExceeded}) {
    const Value job = JobOf(static_cast<int>(code));
    server_->FailNext("StoreResult", absl::Status(code, "not now"));
    int calls = 0;
    EXPECT_THAT(Near().Run(job, [&] { return Value(++calls); }), Gives(1));
    EXPECT_EQ(Files(".result"), 1u) << code;
    EXPECT_THAT(Near().Run(JobOf(99), [] { return Value(); }), IsOk());
    EXPECT_EQ(Files(".result"), 0u) << code;
    EXPECT_THAT(Near().Get(KeyOf(job))->value, Value(1));
    EXPECT_EQ(calls, 1);
  }
}

TEST_F(SpoolTest, WhatTheServerRefusesIsNotKept) {
  server_->FailNext("StoreResult", absl::InvalidArgumentError("too deep"));
  EXPECT_THAT(Near().Run(job_, [] { return Value(1); }),
              Fails(absl::StatusCode::kInvalidArgument, "too deep"));
  EXPECT_EQ(Files(".result"), 0u);
}

TEST_F(SpoolTest, AResultWithoutRoomHoldsUpNoOther) {
  Spool spool(folder_);
  ASSERT_THAT(spool.Add(ResultOf(1, "1")), IsOk());
  ASSERT_THAT(spool.Add(ResultOf(2, "2")), IsOk());
  server_->FailNext("StoreResult", absl::ResourceExhaustedError("full"));
  const auto outcome = spool.Deliver(*server_);
  ASSERT_THAT(outcome, IsOk());
  EXPECT_EQ(outcome->delivered, 1u);
  EXPECT_EQ(outcome->left, 1u);
  EXPECT_THAT(outcome->why, Fails(absl::StatusCode::kResourceExhausted, "full"));
  EXPECT_EQ(spool.Deliver(*server_)->delivered, 1u);
}

TEST_F(SpoolTest, AResultThatNoMessageCarriesIsToldAtOnce) {
  EXPECT_THAT(Spool(folder_).Add(ResultOf(1, std::string(kMaxMessageBytes, '1'))),
              Fails(absl::StatusCode::kInvalidArgument, "a message carries 20971520"));
  EXPECT_TRUE(Spool(folder_).empty());
}

TEST_F(SpoolTest, WhatWaitsIsDeliveredInTheBackground) {
  server_->FailNext("StoreResult", kAway, 3);  // of Run, and twice of the background
  const Client client = Near(absl::Milliseconds(1));
  EXPECT_THAT(Client(client).Run(job_, [] { return Value(42); }), Gives(42));
  server_->WaitUntil([&] { return server_->Calls("StoreResult") == 4; });
  EXPECT_THAT(Client(client).Get(KeyOf(job_))->value, Value(42));
}

}  // namespace
}  // namespace tiffin::testing
