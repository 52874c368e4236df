// Reading results: hot, cold, in batches.
#include <unistd.h>

#include <cstring>
#include <random>
#include <stdexcept>

#include "tests/bench/harness.h"
#include "tests/bench/rpc.h"

namespace tiffin::bench {
namespace {

constexpr int kRounds = 5;
constexpr size_t kInFlight = 64;

// A key that asks the bare server for so many bytes.
std::string BareKey(uint32_t bytes) {
  std::string key(32, '\0');
  std::memcpy(key.data(), &bytes, sizeof bytes);
  return key;
}

void AgainstBare(const char* name, size_t jobs, double bar) {
  const size_t calls = static_cast<size_t>(Setting("TIFFIN_BENCH_CALLS", 50'000));
  const Folder folder;
  const auto server = ServerProcess::Tiffin(folder.path() / "data");
  const auto bare = BareServer();
  const auto stub = server->Stub(), bare_stub = bare->Stub();
  const std::vector<std::string> keys = Fill(*stub, jobs, 1024);
  ::sync();  // what filling has written goes to the disk before anything is measured, not beside it
  std::mt19937_64 random(1);
  std::vector<size_t> order(calls);
  const auto thing = [&] {
    // others each round: what was read is in memory
    for (size_t& each : order) each = random() % keys.size();
    return CallsPerSecond(calls, kInFlight, [&](size_t i, std::function<void()> done) {
      GetResultAsync(*stub, keys[order[i]], std::move(done));
    });
  };
  const std::string bare_key = BareKey(1024);
  const auto floor = [&] {
    return CallsPerSecond(calls, kInFlight, [&](size_t, std::function<void()> done) {
      GetResultAsync(*bare_stub, bare_key, std::move(done));
    });
  };
  Report(Of(Interleaved(kRounds, thing, floor), {.name = name, .unit = "calls/s", .bar = bar}));
}

TIFFIN_BENCH(get_hot) { AgainstBare("get_hot", 1000, 0.8); }

TIFFIN_BENCH(get_cold) {
  AgainstBare("get_cold", static_cast<size_t>(Setting("TIFFIN_BENCH_COLD", 1'000'000)), 0.5);
}

TIFFIN_BENCH(get_batch) {
  const Folder folder;
  const auto server = ServerProcess::Tiffin(folder.path() / "data");
  const auto stub = server->Stub();
  const std::vector<std::string> keys = Fill(*stub, 256, 4096);
  v1::BatchGetResultsRequest request;
  for (const std::string& key : keys) request.add_jobs()->set_key(key);
  std::vector<double> rounds;
  for (int i = 0; i < 200; ++i) {
    rounds.push_back(SecondsOf([&] {
      grpc::ClientContext context;
      const auto stream = stub->BatchGetResults(&context);
      stream->WriteLast(request, {});
      v1::BatchGetResultsResponse response;
      int answers = 0;
      while (stream->Read(&response)) answers += response.items_size();
      Check(stream->Finish());
      if (answers != request.jobs_size()) throw std::runtime_error("results are missing");
    }));
  }
  Report({.name = "get_batch",
          .value = Median(rounds) / 256 * 1e6,
          .unit = "us/result",
          .bar = 10,
          .at_most = true,
          .spread = Spread(rounds)});
}

}  // namespace
}  // namespace tiffin::bench
