#include "client/delivery.h"

#include <algorithm>
#include <utility>

namespace tiffin {
namespace {
constexpr absl::Duration kLongest = absl::Minutes(10);
}  // namespace

Delivery::Delivery(std::shared_ptr<Connection> connection, std::string folder,
                   absl::Duration period)
    : connection_(std::move(connection)), spool_(std::move(folder)), period_(period) {}

Delivery::~Delivery() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Delivery::Begin() {
  if (period_ == absl::InfiniteDuration()) return;
  const std::lock_guard lock(mutex_);
  waiting_ = true;
  if (!thread_.joinable()) thread_ = std::thread([this] { Loop(); });
  wake_.notify_all();
}

void Delivery::Loop() {
  std::unique_lock lock(mutex_);
  absl::Duration pause = period_;
  while (!stop_) {
    if (!waiting_) {
      wake_.wait(lock);
      continue;
    }
    if (wake_.wait_for(lock, absl::ToChronoNanoseconds(pause), [this] { return stop_; })) return;
    waiting_ = false;  // what is added from now on begins another round
    lock.unlock();
    const absl::StatusOr<Spool::Outcome> outcome = spool_.Deliver(*connection_, [this] {
      const std::lock_guard stopping(mutex_);
      return stop_;
    });
    lock.lock();
    if (!outcome.ok() || outcome->left > 0) waiting_ = true;
    // What has no room is not sent all the time.
    const bool full = outcome.ok() && absl::IsResourceExhausted(outcome->why);
    pause = full ? std::min(2 * pause, std::max(period_, kLongest)) : period_;
  }
}

}  // namespace tiffin
