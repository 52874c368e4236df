// Reads what is stored, only to see whether it is sound.
#ifndef TIFFIN_SERVER_STORE_VERIFIER_H_
#define TIFFIN_SERVER_STORE_VERIFIER_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "common/crypto.h"
#include "server/store/blob_catalogue.h"
#include "server/store/job_store.h"

namespace tiffin::server {

struct DamageFound {
  BlobName name;
  std::string file;          // of the pack, below the data folder; empty: in memory
  uint64_t offset = 0;       // of the blob's first byte in it
  std::string what;          // `bytes [1048576, 2097152) differ from their checksum`
  std::vector<Digest> jobs;  // whose results became misses, at most 100
};

// The row of a job that differs from its checksum. It stays until the database is made anew.
struct DamagedJob {
  RowId row = 0;
  Digest key;  // as it reads
};

// A row of another table that differs from its checksum.
struct DamagedRow {
  std::string table;  // `aliases`, `value_digests`
  std::string what;   // as it reads
};

struct VerifyProgress {
  uint64_t blobs = 0, bytes = 0;              // read so far
  uint64_t total_blobs = 0, total_bytes = 0;  // as it began, or more
  uint64_t damaged = 0;                       // blobs, so far
  std::vector<DamageFound> found;             // since the last progress
  uint64_t results = 0, damaged_results = 0;  // read so far
  std::vector<Digest> found_results;          // jobs of those damaged, since the last progress
  uint64_t jobs = 0, damaged_jobs = 0;        // rows of jobs, read so far
  std::vector<DamagedJob> found_jobs;         // since the last progress
  uint64_t rows = 0, damaged_rows = 0;        // aliases and values, read so far
  std::vector<DamagedRow> found_rows;         // since the last progress
};

// Since the start of the process, of all passes.
struct VerifyCounters {
  std::atomic<uint64_t> blobs{0}, bytes{0}, passes{0};
};

// Checks every blob against its checksums, and its key if asked to, and the rows of all results,
// jobs, aliases and values against theirs. A blob that is damaged is set aside
// (BlobCatalogue::ReportDamage), a result taken back, any other row told. Threads: all methods may
// be called from any thread.
class Verifier {
 public:
  struct Options {
    bool keys = false;
    uint64_t bytes_per_second = 0;  // at most; 0: as fast as it goes
  };
  // Of the passes in the background, which check keys, too.
  struct Background {
    uint64_t bytes_per_second = 0;  // 0: there are none
    // From the beginning of one to that of the next, at least. The first waits a minute at most, so
    // that the start is not slowed.
    std::chrono::milliseconds every = std::chrono::hours(24);
  };
  // All outlive the verifier.
  Verifier(JobDatabase* database, BlobStore* store, BlobCatalogue* blobs, JobStore* jobs,
           Clock* clock)
      : database_(database), store_(store), blobs_(blobs), jobs_(jobs), clock_(clock) {}
  ~Verifier() { Stop(); }

  // Called a few times a second, when damage is found, and at the end; false ends the pass.
  using Tell = std::function<bool(VerifyProgress)>;
  // One pass over all jobs, results and blobs of all namespaces. CANCELLED if `tell` ended it.
  absl::Status Run(const Options& options, const Tell& tell);

  // Begins to verify in the background. A pass that was broken off by an error goes on where it
  // was.
  void Start(const Background& background);
  void Stop();

  const VerifyCounters& counters() const { return counters_; }

 private:
  class Pass;
  void RunInBackground(Background background, SteadyTime next);

  JobDatabase* const database_;
  BlobStore* const store_;
  BlobCatalogue* const blobs_;
  JobStore* const jobs_;
  Clock* const clock_;
  VerifyCounters counters_;
  std::mutex mutex_;  // guards stop_
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_VERIFIER_H_
