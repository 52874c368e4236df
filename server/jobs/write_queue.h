// Private to this folder: the one thread that writes, and the queue in front of it.
#ifndef TIFFIN_SERVER_JOBS_WRITE_QUEUE_H_
#define TIFFIN_SERVER_JOBS_WRITE_QUEUE_H_

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "server/jobs/job_database.h"

namespace tiffin::server {

// Hands operations to one thread in the order they came, in batches: what queued while the last
// batch ran is the next one, and what comes meanwhile may join it. No timers: a lone operation
// starts at once. Threads: Push and Close from any; Close not from the queue's own.
class WriteQueue {
 public:
  // Appends to the batch what has come since, up to its limit.
  using Refill = std::function<void(std::vector<WriteOp>& batch)>;
  // Runs operations on the writer's thread and returns how many from the front it finished, at
  // least one. Those have had their `done`; the others come again, first in the next batch.
  using RunBatch = std::function<size_t(std::vector<WriteOp>& batch, const Refill& refill)>;

  // `last` runs on the writer's thread when everything is finished. Both outlive the queue.
  WriteQueue(size_t max_batch, RunBatch run, std::function<void()> last);
  ~WriteQueue();
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;

  // After Close: UNAVAILABLE at once, on the caller's thread.
  void Push(WriteOp op);

  // Finishes what is queued, then `last`. Repeatable.
  void Close();

 private:
  void Run();
  void RefillLocked(std::vector<WriteOp>& batch);

  const size_t max_batch_;
  const RunBatch run_;
  const std::function<void()> last_;

  std::mutex mutex_;
  std::condition_variable changed_;  // queue_ or closed_
  std::deque<WriteOp> queue_;        // guarded by mutex_
  bool closed_ = false;              // guarded by mutex_

  std::mutex join_mutex_;  // guards joining thread_
  std::thread thread_;     // last: starts when all else is there
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_WRITE_QUEUE_H_
