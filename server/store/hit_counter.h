// How often results are read, counted in memory and written in batches: a read never waits for a
// write.
#ifndef TIFFIN_SERVER_STORE_HIT_COUNTER_H_
#define TIFFIN_SERVER_STORE_HIT_COUNTER_H_

#include <cstdint>
#include <mutex>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/jobs/job_database.h"
#include "server/store/clock.h"

namespace tiffin::server {

// Approximate: what was not taken when the process is killed is lost.
// Threads: all methods may be called from any thread.
class HitCounter {
 public:
  explicit HitCounter(Clock* clock) : clock_(clock), taken_(clock->Steady()) {}

  // True if it is time to Take, because there are many or the last time is long ago.
  bool Count(RowId job);
  // What was counted since, to be written.
  std::vector<HitsRow> Take();
  // Of one job, not yet taken.
  std::optional<HitsRow> Find(RowId job);

 private:
  Clock* const clock_;
  std::mutex mutex_;  // guards all below
  SteadyTime taken_;
  absl::flat_hash_map<RowId, HitsRow> hits_;
  bool due_ = false;  // somebody was told to Take
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_HIT_COUNTER_H_
