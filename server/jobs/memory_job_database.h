// The job database in memory, for tests of what stands on JobDatabase.
#ifndef TIFFIN_SERVER_JOBS_MEMORY_JOB_DATABASE_H_
#define TIFFIN_SERVER_JOBS_MEMORY_JOB_DATABASE_H_

#include <memory>

#include "server/jobs/job_database.h"

namespace tiffin::server {

// As the one in SQLite, with a writer's thread of its own, except that nothing outlives it and
// DiskBytes is 0.
std::unique_ptr<JobDatabase> MakeMemoryJobDatabase();

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_MEMORY_JOB_DATABASE_H_
