// What all benchmarks share: their list, medians of interleaved rounds, a table and JSON lines of
// results.
//
//   TIFFIN_BENCH(get_hot) { … Report(Of(Interleaved(5, thing, floor), {.name = "get_hot", …})); }
//
// A floor is measured in the same run, in rounds that alternate with those of the thing itself, as
// the machine is noisy and ratios are firmer than absolutes.
#ifndef TIFFIN_TESTS_BENCH_HARNESS_H_
#define TIFFIN_TESTS_BENCH_HARNESS_H_

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace tiffin::bench {

struct Result {
  std::string name;
  double value = 0;
  std::string unit;
  double floor = 0;  // 0: none was measured
  double bar = 0;    // what the ratio (without a floor: the value) is held against
  bool at_most = false;
  // of the rounds: (largest - smallest) / median; 0: one round
  double spread = 0, floor_spread = 0;
};
// A line of the table on standard output, and one JSON object appended to $TIFFIN_BENCH_RESULTS:
// `{"name", "value", "unit", "floor", "ratio", "spread", "floor_spread", "bar", "ok"}`.
void Report(const Result& result);

double Median(std::vector<double> values);
double Percentile(std::vector<double> values, double part);
double Spread(const std::vector<double>& values);

// Measurements of the thing and of its floor.
struct Rounds {
  std::vector<double> things, floors;
};
// Of each `rounds`, taken in turn.
Rounds Interleaved(int rounds, const std::function<double()>& thing,
                   const std::function<double()>& floor);
// The result with medians and spreads of the rounds.
Result Of(const Rounds& rounds, Result result);

double SecondsOf(const std::function<void()>& work);
// An integer from the environment, to make a run small or large.
int64_t Setting(const char* name, int64_t by_default);

// A folder of its own, removed at the end.
class Folder {
 public:
  Folder();
  ~Folder();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// Adds a benchmark to the list that main runs.
struct Registration {
  Registration(const char* name, void (*run)());
};
#define TIFFIN_BENCH(name) TIFFIN_BENCH_OF(name, #name)
// `results`: all that it reports, so that each can be asked for.
#define TIFFIN_BENCH_OF(name, results)                                                   \
  static void Bench_##name();                                                            \
  static const ::tiffin::bench::Registration registration_##name(results, Bench_##name); \
  static void Bench_##name()

}  // namespace tiffin::bench

#endif  // TIFFIN_TESTS_BENCH_HARNESS_H_
