#include "server/jobs/memory_job_database.h"

#include <exception>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/jobs/memory_state.h"
#include "server/jobs/memory_transaction.h"
#include "server/jobs/write_queue.h"

namespace tiffin::server {
namespace {

constexpr size_t kMaxBatch = 1024;

class MemoryReader final : public MemoryLookups<JobReader> {
 public:
  using MemoryLookups<JobReader>::MemoryLookups;
};

// Two copies of the tables: `shown_` is read and never changed; the writer changes `next_` and then
// swaps them. The old one then gets the same changes, or, while somebody still reads it, is left to
// them and replaced by a fresh copy.
class MemoryJobDatabase final : public JobDatabase {
 public:
  MemoryJobDatabase()
      : queue_(
            kMaxBatch,
            [this](std::span<WriteOp> ops, const WriteQueue::Refill&) { return RunBatch(ops); },
            [] {}) {}

  void Write(WriteOp op) override { queue_.Push(std::move(op)); }
  absl::Status Read(const std::function<absl::Status(JobReader&)>& look) override;
  void Close() override { queue_.Close(); }
  void OnFatal(std::function<void(absl::Status)>) override {}  // memory does not fail to sync
  uint64_t DiskBytes() const override { return 0; }

 private:
  struct Version {
    MemoryState state;
    int reading = 0;  // guarded by mutex_
  };

  // On the writer's thread.
  size_t RunBatch(std::span<WriteOp> ops);
  void Publish(const MemoryTransaction& transaction);

  std::mutex mutex_;
  std::shared_ptr<Version> shown_ = std::make_shared<Version>();  // guarded by mutex_
  std::shared_ptr<Version> next_ = std::make_shared<Version>();   // the writer's

  WriteQueue queue_;  // last: its thread uses all of the above
};

absl::Status MemoryJobDatabase::Read(const std::function<absl::Status(JobReader&)>& look) {
  std::shared_ptr<Version> version;
  {
    std::lock_guard lock(mutex_);
    version = shown_;
    ++version->reading;
  }
  absl::Status status;
  try {
    MemoryReader reader(&version->state);
    status = look(reader);
  } catch (const std::exception& error) {
    status = absl::InternalError(absl::StrCat("a look-up threw: ", error.what()));
  } catch (...) {
    status = absl::InternalError("a look-up threw");
  }
  std::lock_guard lock(mutex_);
  --version->reading;
  return status;
}

size_t MemoryJobDatabase::RunBatch(std::span<WriteOp> ops) {
  std::vector<absl::Status> fates;
  {
    MemoryTransaction transaction(&next_->state);
    for (const WriteOp& op : ops) fates.push_back(transaction.RunOperation(op.apply));
    Publish(transaction);
  }
  for (size_t i = 0; i < ops.size(); ++i) {
    if (ops[i].done) ops[i].done(std::move(fates[i]));
  }
  return ops.size();
}

void MemoryJobDatabase::Publish(const MemoryTransaction& transaction) {
  bool read = false;
  std::shared_ptr<Version> changed = next_;
  {
    std::lock_guard lock(mutex_);
    std::swap(shown_, next_);
    read = next_->reading > 0;
  }
  if (!read) {
    transaction.RedoOn(next_->state);
    return;
  }
  next_ = std::make_shared<Version>();
  next_->state = changed->state;
}

}  // namespace

std::unique_ptr<JobDatabase> MakeMemoryJobDatabase() {
  return std::make_unique<MemoryJobDatabase>();
}

}  // namespace tiffin::server
