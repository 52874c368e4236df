// Look-ups of results that come at the same time are made together, on one snapshot: beginning and
// ending one costs as much as a look-up.
#ifndef TIFFIN_SERVER_SERVICE_GROUPED_GETS_H_
#define TIFFIN_SERVER_SERVICE_GROUPED_GETS_H_

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "server/service/executor.h"
#include "server/store/job_store.h"

namespace tiffin::server {

// Threads: Add may be called from any.
class GroupedGets : public std::enable_shared_from_this<GroupedGets> {
 public:
  // Both outlive what is asked. Its tasks hold the object itself alive.
  GroupedGets(JobStore* store, Executor* executor) : store_(store), executor_(executor) {}

  struct Get {
    std::string name_space;
    JobAddress job;
    // called on the caller's thread or one of the executor's
    std::function<void(JobStore::Found)> done;
  };
  // Looks at once, on the caller's thread, if nobody else does: handing a call over takes longer
  // than looking. At most one of gRPC's threads, of which there are two or more, waits for the disk
  // like this; the others go on.
  void Add(Get get);
  // Leaves it to the executor in any case.
  void HandOver(Get get);

 private:
  // Looks for some of what waits; the rest is left to the others.
  void LookUp();
  std::vector<Get> TakeGroup();
  void GiveBack(std::vector<Get> rest);

  static constexpr size_t kMost = 16;        // in a group
  static constexpr size_t kBytes = 1 << 20;  // of their records, and at most one more

  JobStore* const store_;
  Executor* const executor_;
  // At the same time: one a processor makes large groups, more wait for the disk together. Some
  // threads are left to other reads.
  const size_t most_lookers_ = std::clamp<size_t>(std::thread::hardware_concurrency(), 2, 6);
  std::mutex mutex_;  // guards all below
  std::deque<Get> waiting_;
  size_t lookers_ = 0;
  bool looking_here_ = false;  // on a caller's thread
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_GROUPED_GETS_H_
