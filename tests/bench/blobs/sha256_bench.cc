// How blob keys scale: time against size, beside the bare hash.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <string>
#include <vector>

#include "common/npy.h"
#include "tests/bench/blobs/bare_sha256.h"
#include "tests/bench/harness.h"

namespace tiffin::bench {
namespace {

constexpr int kRounds = 5;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double BareSeconds(std::string_view bytes, int times) {
  const double start = Now();
  for (int i = 0; i < times; ++i) (void)BareSha256(bytes);
  return (Now() - start) / times;
}

double KeySeconds(std::string_view bytes, int times) {
  const double start = Now();
  for (int i = 0; i < times; ++i) (void)BlobKey("float64", {bytes.size() / 8}, bytes);
  return (Now() - start) / times;
}

}  // namespace

TIFFIN_BENCH(sha256) {
  std::vector<double> x, y;
  for (int power = 10; power <= 25; ++power) {
    const uint64_t doubles = uint64_t{1} << power;
    const std::string bytes(doubles * 8, 'x');
    const int times = static_cast<int>(std::max<uint64_t>(1, (uint64_t{1} << 24) / doubles / 8));
    const double gigabytes = static_cast<double>(bytes.size()) / 1e9;
    const Rounds rounds = Interleaved(
        kRounds, [&] { return gigabytes / KeySeconds(bytes, times); },
        [&] { return gigabytes / BareSeconds(bytes, times); });
    // Below 2^15 the key's own few bytes count.
    Report(Of(rounds, {.name = "sha256_2^" + std::to_string(power),
                       .unit = "GB/s",
                       .bar = power >= 15 ? 0.95 : 0}));
    if (power < 15) continue;
    x.push_back(std::log(static_cast<double>(doubles)));
    y.push_back(std::log(gigabytes / Median(rounds.things)));
  }
  // Least squares of log time over log size.
  const double n = static_cast<double>(x.size());
  double mean_x = 0, mean_y = 0, xy = 0, xx = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    mean_x += x[i] / n;
    mean_y += y[i] / n;
  }
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mean_x) * (y[i] - mean_y);
    xx += (x[i] - mean_x) * (x[i] - mean_x);
  }
  // 0.98 to 1.02, told as a distance from 1.
  Report({.name = "sha256_slope_from_1",
          .value = std::fabs(xy / xx - 1),
          .unit = "log-log",
          .bar = 0.02,
          .at_most = true});
}

}  // namespace tiffin::bench
