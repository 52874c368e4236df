#include "server/store/lease_table.h"

#include <algorithm>
#include <utility>
#include <vector>

namespace tiffin::server {
namespace {
// Enough for every lease that a holder may still try to renew after a burst of results.
constexpr size_t kEndedKept = 100'000;

SteadyTime::duration ToSteady(absl::Duration duration) {
  return std::chrono::duration_cast<SteadyTime::duration>(absl::ToChronoNanoseconds(duration));
}
}  // namespace

LeaseTable::LeaseTable(Clock* clock, absl::Duration max_hold)
    : clock_(clock), max_hold_(ToSteady(max_hold)) {}

void LeaseTable::CallIn(absl::Duration delay) {
  std::lock_guard lock(mutex_);
  const SteadyTime due = clock_->Steady() + ToSteady(delay);
  if (alarm_ && *alarm_ <= due) return;
  alarm_ = due;
  wake_.notify_all();
}

void LeaseTable::Start(std::function<void(RowId, const std::string&)> on_lapse,
                       std::function<void()> on_alarm) {
  on_lapse_ = std::move(on_lapse);
  on_alarm_ = std::move(on_alarm);
  thread_ = std::thread([this] { Run(); });
}

void LeaseTable::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void LeaseTable::Schedule(const std::string& id, Live& live) {
  deadlines_.erase({live.deadline, id});
  live.deadline = std::min(clock_->Steady() + live.term, live.held_since + max_hold_);
  const bool first = deadlines_.empty() || live.deadline < deadlines_.begin()->first;
  deadlines_.insert({live.deadline, id});
  if (first) wake_.notify_all();
}

void LeaseTable::Add(const LeaseRow& lease) {
  std::lock_guard lock(mutex_);
  Live& live = live_[lease.lease_id];
  live.job = lease.job;
  live.term = ToSteady(lease.term);
  live.held_since = clock_->Steady();
  Schedule(lease.lease_id, live);
}

void LeaseTable::Remove(std::string_view lease_id, Renewal why) {
  std::lock_guard lock(mutex_);
  const std::string id(lease_id);
  auto it = live_.find(id);
  if (it == live_.end()) return;
  deadlines_.erase({it->second.deadline, id});
  live_.erase(it);
  if (why == Renewal::kLost) return;  // what is not known is lost
  if (ended_.emplace(id, why).second) ended_order_.push_back(id);
  if (ended_order_.size() > kEndedKept) {
    ended_.erase(ended_order_.front());
    ended_order_.pop_front();
  }
}

RowId LeaseTable::JobOf(std::string_view lease_id) {
  std::lock_guard lock(mutex_);
  const auto it = live_.find(std::string(lease_id));
  return it == live_.end() ? 0 : it->second.job;
}

Renewal LeaseTable::RenewLocked(const std::string& id, bool progress) {
  if (auto it = live_.find(id); it != live_.end()) {
    if (it->second.ending) return Renewal::kLost;
    const SteadyTime now = clock_->Steady();
    if (progress) it->second.held_since = now;
    if (it->second.held_since + max_hold_ <= now) return Renewal::kLost;
    Schedule(id, it->second);
    return Renewal::kRenewed;
  }
  auto it = ended_.find(id);
  return it == ended_.end() ? Renewal::kLost : it->second;
}

Renewal LeaseTable::Renew(std::string_view lease_id, bool progress) {
  std::lock_guard lock(mutex_);
  return RenewLocked(std::string(lease_id), progress);
}

std::vector<Renewal> LeaseTable::Renew(std::span<const std::string> lease_ids, bool progress) {
  std::vector<Renewal> out;
  out.reserve(lease_ids.size());
  std::lock_guard lock(mutex_);
  for (const std::string& id : lease_ids) out.push_back(RenewLocked(id, progress));
  return out;
}

void LeaseTable::NoteProgress(std::string_view lease_id) {
  std::lock_guard lock(mutex_);
  const auto it = live_.find(std::string(lease_id));
  if (it != live_.end()) it->second.held_since = clock_->Steady();
}

bool LeaseTable::Lapsed(std::string_view lease_id) {
  std::lock_guard lock(mutex_);
  auto it = live_.find(std::string(lease_id));
  if (it == live_.end() || it->second.deadline > clock_->Steady()) return false;
  it->second.ending = true;
  return true;
}

void LeaseTable::Revive(std::string_view lease_id) {
  std::lock_guard lock(mutex_);
  const auto it = live_.find(std::string(lease_id));
  if (it == live_.end()) return;
  it->second.ending = false;
  Schedule(it->first, it->second);
}

size_t LeaseTable::size() {
  std::lock_guard lock(mutex_);
  return live_.size();
}

void LeaseTable::Run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const SteadyTime now = clock_->Steady();
    const SteadyTime lapse = deadlines_.empty() ? SteadyTime::max() : deadlines_.begin()->first;
    const SteadyTime next = std::min(lapse, alarm_.value_or(SteadyTime::max()));
    if (next > now) {
      clock_->WaitUntil(lock, wake_, next);
      continue;
    }
    if (alarm_ && *alarm_ <= now) {
      alarm_.reset();
      lock.unlock();
      on_alarm_();
      lock.lock();
      continue;
    }
    // Taken off the schedule, not out of the table: whoever renews before the database has let it
    // lapse keeps it.
    std::vector<std::pair<RowId, std::string>> lapsed;
    while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
      const std::string& id = deadlines_.begin()->second;
      lapsed.emplace_back(live_.at(id).job, id);
      deadlines_.erase(deadlines_.begin());
    }
    lock.unlock();
    for (const auto& [job, id] : lapsed) on_lapse_(job, id);
    lock.lock();
  }
}

}  // namespace tiffin::server
