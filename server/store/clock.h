// Time, so that tests can move it.
#ifndef TIFFIN_SERVER_STORE_CLOCK_H_
#define TIFFIN_SERVER_STORE_CLOCK_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace tiffin::server {

using SteadyTime = std::chrono::steady_clock::time_point;

// Threads: all methods may be called from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  // For people and history; may jump.
  virtual absl::Time Now() = 0;
  // For terms; never goes back.
  virtual SteadyTime Steady() = 0;
  // Waits on `wake` until it is notified or the time has come (SteadyTime::max(): never); may
  // return early.
  virtual void WaitUntil(std::unique_lock<std::mutex>& lock, std::condition_variable& wake,
                         SteadyTime time) = 0;
};

class SystemClock : public Clock {
 public:
  absl::Time Now() override { return absl::Now(); }
  SteadyTime Steady() override { return std::chrono::steady_clock::now(); }
  void WaitUntil(std::unique_lock<std::mutex>& lock, std::condition_variable& wake,
                 SteadyTime time) override {
    if (time == SteadyTime::max()) {
      wake.wait(lock);
    } else {
      wake.wait_until(lock, time);
    }
  }
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_CLOCK_H_
