// A clock that stands still until the test moves it.
#ifndef TIFFIN_TESTS_SUPPORT_MANUAL_CLOCK_H_
#define TIFFIN_TESTS_SUPPORT_MANUAL_CLOCK_H_

#include <chrono>
#include <condition_variable>
#include <mutex>

#include "server/store/clock.h"

namespace tiffin::server {

// For one thread that waits on it at a time (the store's lease table).
class ManualClock : public Clock {
 public:
  absl::Time Now() override {
    std::lock_guard lock(mutex_);
    return absl::FromUnixSeconds(1'700'000'000) + absl::FromChrono(now_.time_since_epoch());
  }
  SteadyTime Steady() override {
    std::lock_guard lock(mutex_);
    return now_;
  }

  void WaitUntil(std::unique_lock<std::mutex>& lock, std::condition_variable& wake,
                 SteadyTime time) override {
    {
      std::lock_guard guard(mutex_);
      if (now_ >= time) return;
      waiting_ = {&wake, lock.mutex(), time};
      changed_.notify_all();
    }
    wake.wait(lock);
    std::lock_guard guard(mutex_);
    waiting_ = {};
  }

  // Moves on. When it returns, the thread that waits has done what had come due, and waits again.
  void Advance(std::chrono::milliseconds by) {
    std::unique_lock lock(mutex_);
    now_ += by;
    bool woken = false;
    while (true) {
      changed_.wait(lock, [this] { return waiting_.wake != nullptr; });
      if (woken && waiting_.until > now_) return;
      const Waiting waiting = waiting_;
      waiting_ = {};
      woken = true;
      lock.unlock();
      {
        // Its own mutex: it is in its wait, or has not looked at the time yet.
        std::lock_guard other(*waiting.mutex);
        waiting.wake->notify_all();
      }
      lock.lock();
    }
  }

 private:
  struct Waiting {
    std::condition_variable* wake = nullptr;
    std::mutex* mutex = nullptr;
    SteadyTime until;
  };
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  SteadyTime now_{};
  Waiting waiting_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_TESTS_SUPPORT_MANUAL_CLOCK_H_
