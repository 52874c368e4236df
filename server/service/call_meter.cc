#include "server/service/call_meter.h"

#include <algorithm>
#include <mutex>

namespace tiffin::server {

std::string_view CodeName(grpc::StatusCode code) {
  static constexpr std::array<std::string_view, CallMeter::kCodes> kNames = {"OK",
                                                                             "CANCELLED",
                                                                             "UNKNOWN",
                                                                             "INVALID_ARGUMENT",
                                                                             "DEADLINE_EXCEEDED",
                                                                             "NOT_FOUND",
                                                                             "ALREADY_EXISTS",
                                                                             "PERMISSION_DENIED",
                                                                             "RESOURCE_EXHAUSTED",
                                                                             "FAILED_PRECONDITION",
                                                                             "ABORTED",
                                                                             "OUT_OF_RANGE",
                                                                             "UNIMPLEMENTED",
                                                                             "INTERNAL",
                                                                             "UNAVAILABLE",
                                                                             "DATA_LOSS",
                                                                             "UNAUTHENTICATED"};
  return code >= 0 && code < static_cast<int>(kNames.size()) ? kNames[code] : "UNKNOWN";
}

CallMeter::Slot& CallMeter::Find(std::string_view rpc) {
  {
    std::shared_lock lock(mutex_);
    if (const auto it = slots_.find(rpc); it != slots_.end()) return *it->second;
  }
  std::unique_lock lock(mutex_);
  std::unique_ptr<Slot>& slot = slots_[std::string(rpc)];
  if (!slot) slot = std::make_unique<Slot>();
  return *slot;
}

void CallMeter::Count(std::string_view rpc, grpc::StatusCode code, absl::Duration took) {
  Slot& slot = Find(rpc);
  const bool known = code >= 0 && code < static_cast<int>(kCodes);
  ++slot.codes[static_cast<size_t>(known ? code : grpc::StatusCode::UNKNOWN)];
  const auto bound = std::lower_bound(kBounds.begin(), kBounds.end(), absl::ToDoubleSeconds(took));
  ++slot.buckets[static_cast<size_t>(bound - kBounds.begin())];
  slot.nanoseconds += static_cast<uint64_t>(std::max<int64_t>(absl::ToInt64Nanoseconds(took), 0));
}

std::vector<CallMeter::Rpc> CallMeter::Snapshot() const {
  std::vector<Rpc> out;
  std::shared_lock lock(mutex_);
  for (const auto& [name, slot] : slots_) {
    Rpc rpc{name};
    std::copy(slot->codes.begin(), slot->codes.end(), rpc.codes.begin());
    std::copy(slot->buckets.begin(), slot->buckets.end(), rpc.buckets.begin());
    rpc.seconds = static_cast<double>(slot->nanoseconds) * 1e-9;
    out.push_back(std::move(rpc));
  }
  return out;
}

}  // namespace tiffin::server
