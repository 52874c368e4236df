// A scheduler: many jobs on several threads that share one large array, run twice. The array is
// hashed and uploaded once; the second pass comes from the store.
#include <CLI/CLI.hpp>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <vector>

#include "client/client.h"

namespace {

using tiffin::Value;

// Job `i`: the sum of every n-th element from i on.
Value JobOf(const Value& array, int i, int jobs) {
  return Value(tiffin::Object{{"function", "example.strided_sum"},
                              {"arguments", tiffin::List{array, i, jobs}},
                              {"version", "1"}});
}

struct Pass {
  int computed = 0, retrieved = 0, failed = 0;
  double seconds = 0;
};

Pass RunAll(tiffin::Client& client, const Value& array, const std::vector<double>& data, int jobs) {
  const auto start = std::chrono::steady_clock::now();
  std::atomic<int> computed{0};
  std::vector<std::future<absl::StatusOr<Value>>> results;
  for (int i = 0; i < jobs; ++i) {
    results.push_back(client.RunAsync(JobOf(array, i, jobs), [&, i]() -> absl::StatusOr<Value> {
      ++computed;
      double sum = 0;
      for (size_t at = i; at < data.size(); at += jobs) sum += data[at];
      return Value(sum);
    }));
  }
  Pass pass;
  for (auto& result : results) {
    const absl::StatusOr<Value> value = result.get();
    if (value.ok()) continue;
    if (pass.failed++ == 0) std::cerr << value.status() << "\n";
  }
  pass.computed = computed;
  pass.retrieved = jobs - pass.computed - pass.failed;
  pass.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  return pass;
}

}  // namespace

int main(int argc, char** argv) {
  std::string server = "127.0.0.1:7410", name_space = "scheduler-example";
  int jobs = 10'000, threads = 8, mib = 100;
  CLI::App app("Runs jobs that share one array, twice");
  app.add_option("--server", server, "Address")->capture_default_str();
  app.add_option("--namespace", name_space, "Namespace")->capture_default_str();
  app.add_option("--jobs", jobs, "Jobs")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--threads", threads, "Threads")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--mib", mib, "MiB of the array")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);

  tiffin::Client client(tiffin::MakeGrpcConnection({.server = server}),
                        {.name_space = name_space, .threads = threads});
  std::vector<double> data(static_cast<size_t>(mib) * (1 << 20) / sizeof(double));
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<double>(i % 1000);
  const std::string_view bytes(reinterpret_cast<const char*>(data.data()),
                               data.size() * sizeof(double));
  const absl::StatusOr<tiffin::BlobName> name = client.Put("float64", {data.size()}, bytes);
  if (!name.ok()) {
    std::cerr << name.status() << "\n";
    return 1;
  }
  const Value array = tiffin::Client::RefRecord(*name);
  std::printf("array     %d MiB, uploaded once as %s\n", mib, name->key.ToText().c_str());
  std::printf("%-8s %10s %10s %10s %10s\n", "pass", "computed", "retrieved", "failed", "seconds");
  int failed = 0;
  for (const char* pass_name : {"first", "second"}) {
    const Pass pass = RunAll(client, array, data, jobs);
    std::printf("%-8s %10d %10d %10d %10.2f\n", pass_name, pass.computed, pass.retrieved,
                pass.failed, pass.seconds);
    failed += pass.failed;
  }
  return failed == 0 ? 0 : 1;
}
