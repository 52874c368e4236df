#include "server/store/hit_counter.h"

#include <algorithm>

namespace tiffin::server {
namespace {
// Rows of the same page are then written together.
constexpr size_t kMany = 16'384;
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
  std::vector<HitsRow> rows;
  std::lock_guard lock(mutex_);
  rows.reserve(hits_.size());
  for (const auto& [job, row] : hits_) rows.push_back(row);
  hits_.clear();
  due_ = false;
  taken_ = clock_->Steady();
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
