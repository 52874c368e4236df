#include "client/repeat.h"

#include <algorithm>
#include <random>

#include "absl/strings/cord.h"
#include "absl/time/clock.h"
#include "client/convert.h"
#include "client/foreign.pb.h"
#include "client/grpc_status.h"

namespace tiffin {
namespace {

// So that options or servers that ask for no pause at all do not make a busy loop of it.
constexpr absl::Duration kShortestPause = absl::Milliseconds(1);

// Half to all of it, so that the clients of a restarted server do not come all at once.
absl::Duration Jittered(absl::Duration delay) {
  thread_local std::minstd_rand random(std::random_device{}());
  return delay * std::uniform_real_distribution<double>(0.5, 1.0)(random);
}

}  // namespace

std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const absl::optional<absl::Cord> payload = status.GetPayload(kRetryInfoType);
  foreign::RetryInfo info;
  if (!payload || !info.ParseFromString(std::string(*payload))) return std::nullopt;
  return FromProto(info.retry_delay());
}

absl::Status Repeat(const RetryOptions& options, absl::Time deadline, const Try& call) {
  absl::Duration waited;  // since the last progress
  absl::Duration delay = options.first_delay;
  while (true) {
    bool progress = false;
    absl::Status status = call(&progress);
    const std::optional<absl::Duration> asked = RetryDelay(status);
    if (!absl::IsUnavailable(status) && !(absl::IsResourceExhausted(status) && asked)) {
      return status;
    }
    if (progress) {
      waited = absl::ZeroDuration();
      delay = options.first_delay;
    }
    const absl::Duration pause =
        std::max({Jittered(delay), asked.value_or(absl::ZeroDuration()), kShortestPause});
    if (waited + pause > options.patience) return status;
    const absl::Duration left = deadline - absl::Now();
    if (left > absl::ZeroDuration()) absl::SleepFor(std::min(pause, left));
    if (left <= pause) return status;
    waited += pause;
    delay = std::min(delay * 2, options.max_delay);
  }
}

}  // namespace tiffin
