// bench [FILTER]: runs the benchmarks whose names contain FILTER.
#include "tests/bench/harness.h"

#include <stdlib.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <string_view>

#include "common/json.h"
#include "common/value.h"
#include "tests/bench/rpc.h"

namespace tiffin::bench {
namespace {

std::map<std::string, void (*)()>& Benchmarks() {
  static std::map<std::string, void (*)()> all;
  return all;
}

}  // namespace

Registration::Registration(const char* name, void (*run)()) { Benchmarks()[name] = run; }

void Report(const Result& result) {
  Object line{{"name", result.name}, {"value", result.value}, {"unit", result.unit}};
  double held = result.value;
  if (result.floor > 0) {
    held = result.value / result.floor;
    line.Set("floor", result.floor);
    line.Set("ratio", held);
  }
  if (result.bar > 0) {
    line.Set("bar", result.bar);
    line.Set("ok", result.at_most ? held <= result.bar : held >= result.bar);
  }
  const std::string text = PrintJson(Value(line));
  std::cout << text << std::endl;
  if (const char* file = std::getenv("TIFFIN_BENCH_RESULTS")) {
    std::ofstream(file, std::ios::app) << text << '\n';
  }
}

double Percentile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const double place = part * static_cast<double>(values.size());
  return values[std::min(values.size() - 1, static_cast<size_t>(place))];
}

double Median(std::vector<double> values) { return Percentile(std::move(values), 0.5); }

std::pair<double, double> Interleaved(int rounds, const std::function<double()>& thing,
                                      const std::function<double()>& floor) {
  std::vector<double> things, floors;
  for (int i = 0; i < rounds; ++i) {
    floors.push_back(floor());
    things.push_back(thing());
  }
  return {Median(things), Median(floors)};
}

double SecondsOf(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

int64_t Setting(const char* name, int64_t by_default) {
  const char* text = std::getenv(name);
  return text ? std::atoll(text) : by_default;
}

Folder::Folder() {
  const char* base = std::getenv("TIFFIN_BENCH_FOLDER");
  std::string name = std::string(base ? base : "/tmp") + "/tiffin-bench-XXXXXX";
  if (!mkdtemp(name.data())) std::abort();
  path_ = name;
}

Folder::~Folder() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

}  // namespace tiffin::bench

int main(int argc, char** argv) {
  const std::string_view filter = argc > 1 ? argv[1] : "";
  if (filter == "--bare-server") return tiffin::bench::ServeBare();
  for (const auto& [name, run] : tiffin::bench::Benchmarks()) {
    if (name.find(filter) != std::string::npos) run();
  }
}
