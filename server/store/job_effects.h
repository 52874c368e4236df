// What follows from a change once it is durable. Private to the job store.
#ifndef TIFFIN_SERVER_STORE_JOB_EFFECTS_H_
#define TIFFIN_SERVER_STORE_JOB_EFFECTS_H_

#include <functional>
#include <vector>

#include "server/store/job_store.h"

namespace tiffin::server {

struct JobStore::Effects {
  std::vector<std::function<void()>> after_commit;  // in order, on the writer's thread
  std::vector<WaitKey> free;   // jobs that nobody computes from now on: a waiter may be granted
  std::vector<WaitKey> offer;  // the same of jobs that were free before: those who wait know
};

// What a transition needs beside itself.
struct JobStore::Facts {
  const LeaseRow* lease = nullptr;            // that begins
  const ResultRow* result = nullptr;          // that is put, or only told
  const std::vector<RowId>* blobs = nullptr;  // that the result uses
  RowId link = 0;                             // the job it follows from now on
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_JOB_EFFECTS_H_
