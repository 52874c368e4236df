// Private to this folder: what every implementation keeps beside the rows.
#ifndef TIFFIN_SERVER_JOBS_COUNTERS_H_
#define TIFFIN_SERVER_JOBS_COUNTERS_H_

#include <cstdint>
#include <tuple>

#include "server/jobs/job_database.h"

namespace tiffin::server {

// The epoch counter and the row counts. Small and copyable: an operation that is undone puts the
// copy back that was taken before it.
struct Counters {
  int64_t epoch = 0;
  DatabaseCounts rows;

  // Counts a job in, or (by = -1) out of, the states that are counted.
  void CountState(JobState state, int by) {
    if (state == JobState::kDone) rows.done += by;
    if (state == JobState::kFailed) rows.failed += by;
  }

  // All of it in one value, to compare.
  auto Tie() const {
    return std::tie(epoch, rows.jobs, rows.done, rows.failed, rows.leases, rows.aliases,
                    rows.sessions, rows.blobs, rows.namespaces, rows.blob_bytes, rows.evidence);
  }
  friend bool operator==(const Counters& a, const Counters& b) { return a.Tie() == b.Tie(); }
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_COUNTERS_H_
