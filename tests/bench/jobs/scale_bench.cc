// A database of ten million jobs ($TIFFIN_BENCH_JOBS): loaded, looked up in, started with.
#include <cstring>
#include <iostream>
#include <random>

#include "common/crypto.h"
#include "server/jobs/sqlite_job_database.h"
#include "tests/bench/harness.h"
#include "tests/bench/rpc.h"

namespace tiffin::bench {
namespace {

using server::JobTransaction;

Digest KeyOf(uint64_t n) { return Sha256::Of({reinterpret_cast<const char*>(&n), sizeof n}); }

// Writes done jobs with results of 200 bytes straight into DATA/tiffin.db.
void Load(const std::filesystem::path& data, uint64_t jobs) {
  std::filesystem::create_directories(data);
  server::SqliteJobDatabaseOptions options;
  options.file = data / "tiffin.db";
  options.writer_cache_kib = 1 << 20;  // the index of keys is written at random
  const auto database = *server::OpenSqliteJobDatabase(options);
  constexpr uint64_t kPart = 50'000;
  const std::string record = "\"" + std::string(198, 'x') + "\"";
  const double seconds = SecondsOf([&] {
    for (uint64_t start = 0; start < jobs; start += kPart) {
      const absl::Status status = database->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
        const server::RowId ns = *tx.EnsureNamespace("default");
        for (uint64_t n = start; n < std::min(start + kPart, jobs); ++n) {
          server::JobRow job;
          job.namespace_id = ns;
          job.key = KeyOf(n);
          job.state = server::JobState::kDone;
          job.function = "bench";
          job.record = JobJson(n);
          const absl::StatusOr<server::RowId> id = tx.InsertJob(job);
          if (!id.ok()) return id.status();
          const absl::Status put = tx.PutResult({.job = *id, .record = record});
          if (!put.ok()) return put;
        }
        return absl::OkStatus();
      });
      if (!status.ok()) {
        std::cerr << status << std::endl;
        std::abort();
      }
    }
    database->Close();
  });
  std::cerr << "loaded " << jobs << " jobs in " << seconds << " s" << std::endl;
}

std::string KeyBytes(uint64_t n) { return std::string(KeyOf(n).view()); }

double MedianLookup(v1::Jobs::Stub& stub, uint64_t jobs, std::mt19937_64& random, int calls) {
  std::vector<double> times;
  for (int i = 0; i < calls; ++i) {
    v1::GetResultRequest request;
    v1::GetResultResponse response;
    grpc::ClientContext context;
    request.mutable_job()->set_key(KeyBytes(random() % jobs));
    times.push_back(SecondsOf([&] { Check(stub.GetResult(&context, request, &response)); }));
  }
  return Median(times) * 1e6;
}

double SecondsToFirstAnswer(const std::string& data, std::unique_ptr<ServerProcess>* server) {
  return SecondsOf([&] {
    *server = ServerProcess::Tiffin(data);
    std::mt19937_64 random(1);
    MedianLookup(*(*server)->Stub(), 1, random, 1);
  });
}

TIFFIN_BENCH_OF(lookup_10M, "lookup_10M start_10M_clean start_10M_killed") {
  const uint64_t jobs = static_cast<uint64_t>(Setting("TIFFIN_BENCH_JOBS", 10'000'000));
  const Folder folder;
  const std::string large = folder.path() / "large", small = folder.path() / "small";
  Load(large, jobs);
  Load(small, 10'000);
  std::unique_ptr<ServerProcess> server;
  Report({.name = "start_10M_clean",
          .value = SecondsToFirstAnswer(large, &server),
          .unit = "s",
          .bar = 1,
          .at_most = true});
  // In the middle of its work: the log holds what the database does not have yet.
  (void)Grants(*server->Stub(), 0, 20'000);
  server->Stop(9);
  Report({.name = "start_10M_killed",
          .value = SecondsToFirstAnswer(large, &server),
          .unit = "s",
          .bar = 1,
          .at_most = true});
  const auto other = ServerProcess::Tiffin(small);
  const auto stub = server->Stub(), other_stub = other->Stub();
  std::mt19937_64 random(2);
  MedianLookup(*stub, jobs, random, 20'000);  // warm
  MedianLookup(*other_stub, 10'000, random, 20'000);
  const Rounds rounds = Interleaved(
      5, [&] { return MedianLookup(*stub, jobs, random, 4000); },
      [&] { return MedianLookup(*other_stub, 10'000, random, 4000); });
  Report(Of(rounds, {.name = "lookup_10M", .unit = "us", .bar = 1.5, .at_most = true}));
}

}  // namespace
}  // namespace tiffin::bench
