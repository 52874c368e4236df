// The implementations that keep the contract.
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "server/jobs/memory_job_database.h"
#include "server/jobs/sqlite_job_database.h"
#include "tests/contract/jobs/job_database_contract.h"

namespace tiffin::server {
namespace {

class SqliteHome final : public JobDatabaseHome {
 public:
  explicit SqliteHome(SqliteJobDatabaseOptions options) : options_(std::move(options)) {
    std::string name = (std::filesystem::temp_directory_path() / "tiffin-jobs-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    folder_ = name;
    options_.file = folder_ / "tiffin.db";
  }
  ~SqliteHome() override { std::filesystem::remove_all(folder_); }

  std::unique_ptr<JobDatabase> Open() override { return Must(OpenSqliteJobDatabase(options_)); }
  bool Keeps() const override { return true; }

 private:
  SqliteJobDatabaseOptions options_;
  std::filesystem::path folder_;
};

class MemoryHome final : public JobDatabaseHome {
 public:
  std::unique_ptr<JobDatabase> Open() override { return MakeMemoryJobDatabase(); }
  bool Keeps() const override { return false; }
};

// Every edge often: tiny batches, caches and logs.
SqliteJobDatabaseOptions Small() {
  SqliteJobDatabaseOptions options;
  options.max_batch = 3;
  options.max_batch_bytes = 100;
  options.checkpoint_pages = 4;
  options.writer_cache_kib = 16;
  options.reader_cache_kib = 16;
  options.readers = 2;
  return options;
}

const auto kBackends = ::testing::Values(
    JobDatabaseBackend{"Memory", [] { return std::make_unique<MemoryHome>(); }},
    JobDatabaseBackend{"Sqlite",
                       [] { return std::make_unique<SqliteHome>(SqliteJobDatabaseOptions()); }},
    JobDatabaseBackend{"SmallSqlite", [] { return std::make_unique<SqliteHome>(Small()); }});
const auto kName = [](const auto& info) { return info.param.name; };

INSTANTIATE_TEST_SUITE_P(All, JobRows, kBackends, kName);
INSTANTIATE_TEST_SUITE_P(All, JobTransactions, kBackends, kName);
INSTANTIATE_TEST_SUITE_P(All, JobModel, kBackends, kName);

}  // namespace
}  // namespace tiffin::server
