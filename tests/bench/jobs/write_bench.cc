// Durable writes by many clients, against the same rows written in process.
#include <atomic>
#include <thread>

#include "common/crypto.h"
#include "server/jobs/sqlite_job_database.h"
#include "tests/bench/harness.h"
#include "tests/bench/rpc.h"

namespace tiffin::bench {
namespace {

using server::JobRow;
using server::JobTransaction;
using server::RowId;

constexpr int kRounds = 3;
constexpr size_t kClients = 64;

// Operations a second of `kClients` threads that each wait for theirs.
double InProcess(server::JobDatabase& database, size_t total,
                 const std::function<absl::Status(JobTransaction&, size_t)>& operation) {
  std::atomic<size_t> next{0};
  const double seconds = SecondsOf([&] {
    std::vector<std::thread> threads;
    for (size_t t = 0; t < kClients; ++t) {
      threads.emplace_back([&] {
        for (size_t i = next++; i < total; i = next++) {
          const absl::Status status =
              database.WriteAndWait([&](JobTransaction& tx) { return operation(tx, i); });
          if (!status.ok()) std::abort();
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  });
  return static_cast<double>(total) / seconds;
}

JobRow NewJob(RowId ns) {
  JobRow job;
  job.namespace_id = ns;
  job.key = *Digest::FromBytes(RandomBytes(32));
  job.state = server::JobState::kLeased;
  job.function = "bench";
  job.record = JobJson(123456);
  return job;
}

absl::Status Lease(JobTransaction& tx, RowId ns, RowId* id) {
  JobRow job = NewJob(ns);
  if (tx.FindJob(ns, job.key)->has_value()) return absl::OkStatus();
  job.epoch = *tx.NextEpoch();
  *id = *tx.InsertJob(job);
  return tx.PutLease({.job = *id, .lease_id = RandomBytes(16), .epoch = job.epoch});
}

std::unique_ptr<server::JobDatabase> OpenDatabase(const Folder& folder) {
  server::SqliteJobDatabaseOptions options;
  options.file = folder.path() / "floor.db";
  return *server::OpenSqliteJobDatabase(options);
}

TIFFIN_BENCH(store_durable) {
  const size_t total = static_cast<size_t>(Setting("TIFFIN_BENCH_STORES", 20'000));
  const Folder folder;
  const auto server = ServerProcess::Tiffin(folder.path() / "data");
  const auto stub = server->Stub();
  const auto database = OpenDatabase(folder);
  size_t first = 0;
  const std::string record = "\"" + std::string(1022, 'x') + "\"";
  const auto thing = [&] {
    const std::vector<v1::SubmitResponse> jobs = Grants(*stub, first, total);
    first += total;
    return CallsPerSecond(total, kClients, [&](size_t i, std::function<void()> done) {
      StoreResultAsync(*stub, jobs[i], record, std::move(done));
    });
  };
  const auto floor = [&] {
    std::vector<RowId> ids(total);
    RowId ns = 0;
    if (!database
             ->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
               ns = *tx.EnsureNamespace("default");
               for (RowId& id : ids) {
                 if (absl::Status status = Lease(tx, ns, &id); !status.ok()) return status;
               }
               return absl::OkStatus();
             })
             .ok()) {
      std::abort();
    }
    return InProcess(*database, total, [&](JobTransaction& tx, size_t i) -> absl::Status {
      JobRow job = **tx.FindJob(ids[i]);
      job.state = server::JobState::kDone;
      if (auto status = tx.UpdateJob(job); !status.ok()) return status;
      if (auto status = tx.DeleteLease(job.id); !status.ok()) return status;
      return tx.PutResult({.job = job.id, .record = record});
    });
  };
  Report(Of(Interleaved(kRounds, thing, floor),
            {.name = "store_durable", .unit = "stores/s", .bar = 0.4}));
}

TIFFIN_BENCH(submit_new) {
  const size_t total = static_cast<size_t>(Setting("TIFFIN_BENCH_STORES", 20'000));
  const Folder folder;
  const auto server = ServerProcess::Tiffin(folder.path() / "data");
  const auto stub = server->Stub();
  const auto database = OpenDatabase(folder);
  size_t first = 0;
  const auto thing = [&] {
    const double rate = CallsPerSecond(total, kClients, [&](size_t i, std::function<void()> done) {
      struct Call {
        grpc::ClientContext context;
        v1::SubmitRequest request;
        v1::SubmitResponse response;
      };
      auto call = std::make_shared<Call>();
      call->request.mutable_job()->set_json(JobJson(first + i));
      call->request.mutable_options()->set_can_compute(true);
      stub->async()->Submit(&call->context, &call->request, &call->response,
                            [call, done = std::move(done)](const grpc::Status& status) {
                              Check(status);
                              done();
                            });
    });
    first += total;
    return rate;
  };
  const auto floor = [&] {
    return InProcess(*database, total, [&](JobTransaction& tx, size_t) -> absl::Status {
      RowId id = 0;
      return Lease(tx, *tx.EnsureNamespace("default"), &id);
    });
  };
  Report(Of(Interleaved(kRounds, thing, floor),
            {.name = "submit_new", .unit = "submits/s", .bar = 0.4}));
}

}  // namespace
}  // namespace tiffin::bench
