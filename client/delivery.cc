#include "client/delivery.h"

#include <utility>

namespace tiffin {

Delivery::Delivery(std::shared_ptr<Connection> connection, std::string folder, absl::Duration period)
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
  while (!stop_) {
    if (!waiting_) {
      wake_.wait(lock);
      continue;
    }
    if (wake_.wait_for(lock, absl::ToChronoNanoseconds(period_), [this] { return stop_; })) return;
    waiting_ = false;  // what is added from now on begins another round
    lock.unlock();
    const absl::StatusOr<Spool::Outcome> outcome = spool_.Deliver(*connection_);
    lock.lock();
    if (!outcome.ok() || outcome->left > 0) waiting_ = true;
  }
}

}  // namespace tiffin
