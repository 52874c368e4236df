// Threads for work that blocks, so that gRPC's own never do.
#ifndef TIFFIN_SERVER_SERVICE_EXECUTOR_H_
#define TIFFIN_SERVER_SERVICE_EXECUTOR_H_

#include <atomic>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace tiffin::server {

// Threads: all methods may be called from any thread. Tasks run in the order given, as threads get
// free.
class Executor {
 public:
  explicit Executor(int threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { Run(); });
  }
  // Finishes what is queued.
  ~Executor() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      wake_.notify_all();
    }
    for (std::thread& thread : threads_) thread.join();
  }

  void Add(std::function<void()> task) {
    std::unique_lock lock(mutex_);
    tasks_.push_back(std::move(task));
    WakeOne(lock);
  }

  // Calls `work(i)` for each i below n, from this thread and others that are free; returns when all
  // are done. May be called from a task: it never waits for a thread to get free.
  void ForEach(size_t n, const std::function<void(size_t)>& work) {
    struct Shared {
      std::atomic<size_t> next{0}, done{0};
      std::mutex mutex;
      std::condition_variable ready;
    };
    auto shared = std::make_shared<Shared>();
    // `work` is only touched for an i below n, which this call waits for.
    auto loop = [shared, n, &work] {
      for (size_t i = shared->next++; i < n; i = shared->next++) {
        work(i);
        if (++shared->done == n) {
          std::lock_guard lock(shared->mutex);
          shared->ready.notify_all();
        }
      }
    };
    for (size_t i = 1; i < std::min(n, threads_.size()); ++i) Add(loop);
    loop();
    std::unique_lock lock(shared->mutex);
    shared->ready.wait(lock, [&] { return shared->done == n; });
  }

 private:
  // One thread wakes up at a time, and wakes the next one if there is more to do: many tasks that
  // come at once and are done soon cost few switches. Unlocks, as who wakes up would only wait for
  // the mutex.
  void WakeOne(std::unique_lock<std::mutex>& lock) {
    const bool wake = !tasks_.empty() && asleep_ > 0 && !waking_;
    waking_ = waking_ || wake;
    lock.unlock();
    if (wake) wake_.notify_one();
  }

  void Run() {
    std::unique_lock lock(mutex_);
    while (true) {
      while (!stop_ && tasks_.empty()) {
        ++asleep_;
        wake_.wait(lock);
        --asleep_;
        waking_ = false;
      }
      if (tasks_.empty()) return;
      std::function<void()> task = std::move(tasks_.front());
      tasks_.pop_front();
      WakeOne(lock);
      task();
      task = nullptr;
      lock.lock();
    }
  }

  std::mutex mutex_;  // guards all below but threads_
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_;
  size_t asleep_ = 0;
  bool waking_ = false;  // a thread was woken that has not looked yet
  bool stop_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_EXECUTOR_H_
