// What clients were told is there: it may not be collected for a while.
#ifndef TIFFIN_SERVER_STORE_PINS_H_
#define TIFFIN_SERVER_STORE_PINS_H_

#include <chrono>
#include <deque>
#include <mutex>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "server/jobs/job_database.h"
#include "server/store/clock.h"

namespace tiffin::server {

// In memory only: Collect waits as long after a start. Threads: all methods may be called from any
// thread.
class Pins {
 public:
  Pins(Clock* clock, std::chrono::seconds time) : clock_(clock), time_(time) {}

  std::chrono::seconds time() const { return time_; }

  // Whoever looked a blob up pins it, and then looks it up again: a Collect that was quicker is
  // seen.
  void Pin(RowId blob) {
    std::lock_guard lock(mutex_);
    const SteadyTime until = clock_->Steady() + time_;
    until_[blob] = until;
    order_.emplace_back(until, blob);
    // Forgets what is over, a few at a time.
    const SteadyTime now = clock_->Steady();
    for (int i = 0; i < 2 && !order_.empty() && order_.front().first < now; ++i) {
      const auto it = until_.find(order_.front().second);
      if (it != until_.end() && it->second < now) until_.erase(it);
      order_.pop_front();
    }
  }
  bool Pinned(RowId blob) {
    std::lock_guard lock(mutex_);
    const auto it = until_.find(blob);
    return it != until_.end() && it->second >= clock_->Steady();
  }

 private:
  Clock* const clock_;
  const std::chrono::seconds time_;
  std::mutex mutex_;  // guards what is below
  absl::flat_hash_map<RowId, SteadyTime> until_;
  std::deque<std::pair<SteadyTime, RowId>> order_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_PINS_H_
