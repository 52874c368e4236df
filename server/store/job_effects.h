// What follows from a change once it is durable. Private to the job store.
#ifndef TIFFIN_SERVER_STORE_JOB_EFFECTS_H_
#define TIFFIN_SERVER_STORE_JOB_EFFECTS_H_

#include <functional>
#include <vector>

#include "server/store/job_store.h"
#include "server/store/job_views.h"
#include "common/status.h"

namespace tiffin::server {

struct JobStore::Effects {
  std::vector<std::function<void()>> after_commit;  // in order, on the writer's thread
  std::vector<WaitKey> free;   // jobs that nobody computes from now on: a waiter may be granted
  std::vector<WaitKey> offer;  // the same of jobs that were free before: those who wait know
};

// Tells all who wait for the job, and for jobs that follow it, how it ended.
inline absl::Status TellEnding(JobTransaction& tx, auto& effects, Waiters& waiters,
                               const JobRow& job, const StoredResult& result,
                               WaitEvent::Kind kind) {
  TIFFIN_ASSIGN_OR_RETURN(std::vector<JobRow> all, Followers(tx, job.id));
  all.push_back(job);
  for (const JobRow& each : all) {
    WaitEvent event{.kind = kind, .key = each.key};
    event.result = result;
    if (each.id != job.id && !event.result->linked_to) event.result->linked_to = job.key;
    effects.after_commit.push_back([&waiters, event, key = WaitKey{each.namespace_id, each.key}] {
      waiters.End(key, event);
    });
  }
  return absl::OkStatus();
}

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_JOB_EFFECTS_H_
