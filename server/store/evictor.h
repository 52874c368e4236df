// Makes room: which results go first, and how many.
#ifndef TIFFIN_SERVER_STORE_EVICTOR_H_
#define TIFFIN_SERVER_STORE_EVICTOR_H_

#include <cstdint>
#include <functional>
#include <set>
#include <vector>

#include "absl/status/statusor.h"
#include "server/store/blob_catalogue.h"
#include "server/store/job_store.h"

namespace tiffin::server {

struct EvictCounts {
  uint64_t results = 0;
  uint64_t blobs = 0, blob_bytes = 0;  // that only they used, or nothing
  CollectCounts collected;             // of packs, on the way
  uint64_t kept_bytes = 0;             // of blobs and database, afterwards
};

// Whether a job's result may be evicted: it is done, or follows another job; no job follows it; no
// name of a user's points to it; none of its blobs is pinned. `gone`: jobs that count as evicted.
absl::StatusOr<bool> MayEvict(JobReader& reader, BlobCatalogue& blobs, const JobRow& job,
                              const std::set<RowId>& gone = {});
// Of blobs and rows.
absl::StatusOr<uint64_t> StoredBytes(JobReader& reader);

// Threads: all methods may be called from any thread but the writer's.
class Evictor {
 public:
  // All outlive it.
  Evictor(JobDatabase* database, BlobCatalogue* blobs, JobStore* jobs)
      : database_(database), blobs_(blobs), jobs_(jobs) {}

  // Evicts the least recently stored or read results until blobs and rows take `max_bytes` or less,
  // or nothing more may go. Writes a few at a time, so that others get their turn. A dry run only
  // counts, what rows would free roughly. FAILED_PRECONDITION: too early after the start, see
  // BlobCatalogue::CheckMayCollect.
  absl::StatusOr<EvictCounts> Run(uint64_t max_bytes, bool dry_run);
  absl::StatusOr<uint64_t> KeptBytes();

 private:
  using Uses = std::vector<ResultUse>;
  // The next ones in order of their last use, behind `after`.
  absl::StatusOr<Uses> NextOldest(const ResultUse& after);
  // Goes through all in that order, some at a time, until `stop` says so.
  absl::Status ForOldest(const std::function<absl::StatusOr<bool>(const Uses&)>& stop);
  absl::StatusOr<EvictCounts> Simulate(uint64_t max_bytes);

  JobDatabase* const database_;
  BlobCatalogue* const blobs_;
  JobStore* const jobs_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_EVICTOR_H_
