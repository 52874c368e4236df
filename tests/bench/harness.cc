// bench [FILTER]: runs the benchmarks whose names contain FILTER.
#include "tests/bench/harness.h"

#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cstdio>
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
  static const bool headed = [] {
    std::printf("%-20s %12s %-10s %12s %7s %7s %7s %7s\n", "name", "value", "unit", "floor",
                "ratio", "bar", "spread", "met");
    return true;
  }();
  (void)headed;
  Object line{{"name", result.name}, {"value", result.value}, {"unit", result.unit}};
  double held = result.value;
  if (result.floor > 0) {
    held = result.value / result.floor;
    line.Set("floor", result.floor);
    line.Set("ratio", held);
  }
  if (result.spread > 0) line.Set("spread", result.spread);
  if (result.floor_spread > 0) line.Set("floor_spread", result.floor_spread);
  const bool ok = result.at_most ? held <= result.bar : held >= result.bar;
  if (result.bar > 0) {
    line.Set("bar", result.bar);
    line.Set("ok", ok);
  }
  const auto cell = [](double number, int digits) {
    std::array<char, 32> text;
    const int size = std::snprintf(text.data(), text.size(), "%.*f", digits, number);
    return number > 0 ? std::string(text.data(), static_cast<size_t>(size)) : std::string("-");
  };
  std::printf("%-20s %12.3f %-10s %12s %7s %7s %7s %7s\n", result.name.c_str(), result.value,
              result.unit.c_str(), cell(result.floor, 3).c_str(),
              cell(result.floor > 0 ? held : 0, 3).c_str(), cell(result.bar, 2).c_str(),
              cell(result.spread, 2).c_str(), result.bar > 0 ? (ok ? "yes" : "NO") : "-");
  std::fflush(stdout);
  const std::string text = PrintJson(Value(line));
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

double Spread(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  return (*most - *least) / Median(values);
}

Rounds Interleaved(int rounds, const std::function<double()>& thing,
                   const std::function<double()>& floor) {
  Rounds out;
  for (int i = 0; i < rounds; ++i) {
    out.floors.push_back(floor());
    out.things.push_back(thing());
  }
  return out;
}

Result Of(const Rounds& rounds, Result result) {
  result.value = Median(rounds.things);
  result.floor = Median(rounds.floors);
  result.spread = Spread(rounds.things);
  result.floor_spread = Spread(rounds.floors);
  return result;
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
  bool any = false;
  for (const auto& [name, run] : tiffin::bench::Benchmarks()) {
    if (name.find(filter) == std::string::npos) continue;
    any = true;
    run();
  }
  if (any) return 0;
  std::cerr << "no benchmark's name has '" << filter << "' in it; there are:";
  for (const auto& [name, run] : tiffin::bench::Benchmarks()) std::cerr << ' ' << name;
  std::cerr << std::endl;
  return 2;
}
