#include "server/jobs/write_queue.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/status/status.h"

namespace tiffin::server {

WriteQueue::WriteQueue(size_t max_batch, RunBatch run, std::function<void()> last)
    : max_batch_(std::max<size_t>(max_batch, 1)),
      run_(std::move(run)),
      last_(std::move(last)),
      thread_([this] { Run(); }) {}

WriteQueue::~WriteQueue() { Close(); }

void WriteQueue::Push(WriteOp op) {
  {
    std::unique_lock lock(mutex_);
    if (!closed_) {
      queue_.push_back(std::move(op));
      const bool first = queue_.size() == 1;  // else it is awake, or will look before it sleeps
      lock.unlock();
      if (first) changed_.notify_one();
      return;
    }
  }
  if (op.done) op.done(absl::UnavailableError("the job database is closed"));
}

void WriteQueue::Close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    changed_.notify_one();
  }
  std::lock_guard lock(join_mutex_);
  if (thread_.joinable()) thread_.join();
}

void WriteQueue::RefillLocked(std::vector<WriteOp>& batch) {
  if (batch.size() >= max_batch_) return;
  const size_t room = std::min(max_batch_ - batch.size(), queue_.size());
  const auto end = queue_.begin() + static_cast<ptrdiff_t>(room);
  std::move(queue_.begin(), end, std::back_inserter(batch));
  queue_.erase(queue_.begin(), end);
}

void WriteQueue::Run() {
  std::vector<WriteOp> batch;
  const Refill refill = [this](std::vector<WriteOp>& more) {
    std::lock_guard lock(mutex_);
    RefillLocked(more);
  };
  while (true) {
    {
      std::unique_lock lock(mutex_);
      // What the last batch left over goes first; it is never longer than a batch.
      if (batch.empty()) changed_.wait(lock, [&] { return closed_ || !queue_.empty(); });
      RefillLocked(batch);
    }
    if (batch.empty()) break;  // closed, and nothing is left
    const size_t finished = run_(batch, refill);
    batch.erase(batch.begin(), batch.begin() + static_cast<ptrdiff_t>(finished));
  }
  last_();
}

}  // namespace tiffin::server
