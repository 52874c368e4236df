// Writes for ever to the database named by its argument and prints the number of every operation
// that was acknowledged, one a line. Made to be killed: see sqlite_kill_test.cc.
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "server/jobs/sqlite_job_database.h"
#include "tests/contract/jobs/job_database_contract.h"

namespace {

using tiffin::server::JobTransaction;
using tiffin::server::Must;

constexpr int kThreads = 8;

// Lines this short reach a pipe whole.
void Print(uint64_t n) {
  const std::string line = std::to_string(n) + "\n";
  if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) ::_exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::atomic<uint64_t> next = std::stoull(argv[2]);
  tiffin::server::SqliteJobDatabaseOptions options;
  options.file = argv[1];
  options.checkpoint_pages = 50;  // so that some are killed inside a checkpoint
  auto database = Must(tiffin::server::OpenSqliteJobDatabase(options));
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      while (true) {
        const uint64_t n = next++;
        Must(database->WriteAndWait([n](JobTransaction& tx) -> absl::Status {
          tiffin::server::JobRow job = tiffin::server::TestJob(Must(tx.EnsureNamespace("a")), n);
          job.epoch = Must(tx.NextEpoch());
          const tiffin::server::RowId id = Must(tx.InsertJob(job));
          return tx.PutResult(tiffin::server::TestResult(id, n));
        }));
        Print(n);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return 0;
}
