#include "server/store/hit_counter.h"

#include <algorithm>

namespace tiffin::server {
namespace {
// Rows of the same page are then written together.
constexpr size_t kMany = 131'072;
constexpr auto kLong = std::chrono::seconds(10);
}  // namespace

bool HitCounter::Count(RowId job) {
  std::lock_guard lock(mutex_);
  HitsRow& row = hits_[job];
  row.job = job;
  ++row.hits;
  row.last = clock_->Now();
  if (due_ || (hits_.size() < kMany && clock_->Steady() - taken_ < kLong)) return false;
  due_ = true;
  return true;
}

std::vector<HitsRow> HitCounter::Take() {
  absl::flat_hash_map<RowId, HitsRow> taken;
  {
    std::lock_guard lock(mutex_);
    taken.swap(hits_);
    due_ = false;
    taken_ = clock_->Steady();
  }
  std::vector<HitsRow> rows;
  rows.reserve(taken.size());
  for (const auto& [job, row] : taken) rows.push_back(row);
  // By id: the rows are written in their order.
  std::sort(rows.begin(), rows.end(),
            [](const HitsRow& a, const HitsRow& b) { return a.job < b.job; });
  return rows;
}

std::optional<HitsRow> HitCounter::Find(RowId job) {
  std::lock_guard lock(mutex_);
  const auto it = hits_.find(job);
  if (it == hits_.end()) return std::nullopt;
  return it->second;
}

}  // namespace tiffin::server
