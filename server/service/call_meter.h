// How many calls ended how, and how long they took, by rpc.
#ifndef TIFFIN_SERVER_SERVICE_CALL_METER_H_
#define TIFFIN_SERVER_SERVICE_CALL_METER_H_

#include <grpcpp/support/status.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace tiffin::server {

// `NOT_FOUND` …
std::string_view CodeName(grpc::StatusCode code);

// Threads: all methods may be called from any thread.
class CallMeter {
 public:
  static constexpr size_t kCodes = 17;
  // Upper bounds of the buckets, in seconds; one more holds the rest.
  static constexpr std::array<double, 15> kBounds = {
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30};

  struct Rpc {
    std::string name;
    std::array<uint64_t, kCodes> codes{};
    std::array<uint64_t, kBounds.size() + 1> buckets{};
    double seconds = 0;
  };

  void Count(std::string_view rpc, grpc::StatusCode code, absl::Duration took);
  // Of each rpc that was called, by name.
  std::vector<Rpc> Snapshot() const;

 private:
  struct Slot {
    std::array<std::atomic<uint64_t>, kCodes> codes{};
    std::array<std::atomic<uint64_t>, kBounds.size() + 1> buckets{};
    std::atomic<uint64_t> nanoseconds{0};
  };
  Slot& Find(std::string_view rpc);

  mutable std::shared_mutex mutex_;  // guards the map; slots stay where they are
  std::map<std::string, std::unique_ptr<Slot>, std::less<>> slots_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_CALL_METER_H_
