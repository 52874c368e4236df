// When a call is made again, and when it is given up.
#include "client/repeat.h"

#include <gtest/gtest.h>

#include "absl/strings/cord.h"
#include "client/foreign.pb.h"
#include "client/grpc_status.h"

namespace tiffin {
namespace {

const absl::Status kAway = absl::UnavailableError("away");

// A few tries: each pause is half a millisecond to a whole one, but never less than that.
constexpr RetryOptions kShort{.patience = absl::Milliseconds(4),
                              .first_delay = absl::Milliseconds(1),
                              .max_delay = absl::Milliseconds(1)};

absl::Status AskingFor(int64_t seconds) {
  foreign::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(seconds);
  absl::Status status = absl::ResourceExhaustedError("full");
  status.SetPayload(kRetryInfoType, absl::Cord(info.SerializeAsString()));
  return status;
}

TEST(RepeatTest, GivesUpWithTheLastStatusWhenPatienceIsOver) {
  int tries = 0;
  const absl::Status status = Repeat(kShort, absl::InfiniteFuture(), [&](bool*) {
    return absl::UnavailableError(std::to_string(++tries));
  });
  EXPECT_GE(tries, 2);
  EXPECT_LE(tries, 10);
  EXPECT_EQ(status, absl::UnavailableError(std::to_string(tries)));
}

TEST(RepeatTest, ProgressGivesNewPatience) {
  int tries = 0;
  const absl::Status status = Repeat(kShort, absl::InfiniteFuture(), [&](bool* progress) {
    *progress = tries % 2 == 0;
    return ++tries < 50 ? kAway : absl::OkStatus();
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(tries, 50);
}

TEST(RepeatTest, ProgressDoesNotLastForEver) {
  int tries = 0;
  const absl::Status status = Repeat(kShort, absl::InfiniteFuture(), [&](bool* progress) {
    *progress = ++tries <= 20;
    return kAway;
  });
  EXPECT_EQ(status, kAway);
  EXPECT_GT(tries, 20);
  EXPECT_LE(tries, 30);
}

TEST(RepeatTest, PausesOfNothingEndToo) {
  const RetryOptions options{.patience = absl::Milliseconds(4),
                             .first_delay = absl::ZeroDuration(),
                             .max_delay = absl::ZeroDuration()};
  int tries = 0;
  EXPECT_EQ(Repeat(options, absl::InfiniteFuture(),
                   [&](bool*) {
                     ++tries;
                     return kAway;
                   }),
            kAway);
  EXPECT_LE(tries, 10);
}

TEST(RepeatTest, APassedDeadlineIsOneTry) {
  int tries = 0;
  EXPECT_EQ(Repeat({}, absl::InfinitePast(),
                   [&](bool*) {
                     ++tries;
                     return kAway;
                   }),
            kAway);
  EXPECT_EQ(tries, 1);
}

TEST(RepeatTest, AServerThatAsksForLongerThanThePatienceIsNotAskedAgain) {
  int tries = 0;
  EXPECT_EQ(Repeat(kShort, absl::InfiniteFuture(),
                   [&](bool*) {
                     ++tries;
                     return AskingFor(3600);
                   }),
            AskingFor(3600));
  EXPECT_EQ(tries, 1);
}

TEST(RepeatTest, ReadsTheDelayThatTheServerAsksFor) {
  EXPECT_EQ(RetryDelay(AskingFor(7)), absl::Seconds(7));
  EXPECT_EQ(RetryDelay(kAway), std::nullopt);
  EXPECT_EQ(RetryDelay(absl::OkStatus()), std::nullopt);
}

TEST(GrpcStatusTest, DetailsBecomePayloads) {
  foreign::RpcStatus details;
  google::protobuf::Any* any = details.add_details();
  any->set_type_url(kRetryInfoType);
  any->set_value(std::string(*AskingFor(7).GetPayload(kRetryInfoType)));
  const absl::Status status = FromGrpc(
      grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "full", details.SerializeAsString()));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(status.message(), "full");
  EXPECT_EQ(RetryDelay(status), absl::Seconds(7));
}

TEST(GrpcStatusTest, MissingBlobsAreKept) {
  v1::MissingBlobs missing;
  missing.add_blobs()->set_dtype("int64");
  const absl::Status status = FromGrpc(grpc::Status(
      grpc::StatusCode::FAILED_PRECONDITION, "blobs are absent", missing.SerializeAsString()));
  const auto payload = status.GetPayload(kMissingBlobsType);
  ASSERT_TRUE(payload.has_value());
  EXPECT_EQ(std::string(*payload), missing.SerializeAsString());
}

TEST(GrpcStatusTest, DetailsOfNoKnownKindAreNoHarm) {
  const absl::Status status =
      FromGrpc(grpc::Status(grpc::StatusCode::UNAVAILABLE, "away", "\xff\xff\xff"));
  EXPECT_EQ(status, kAway);
}

}  // namespace
}  // namespace tiffin
