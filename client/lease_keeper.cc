#include "client/lease_keeper.h"

#include <algorithm>

namespace tiffin {
namespace {

constexpr absl::Duration kDefaultTerm = absl::Seconds(30);

}  // namespace

absl::Duration TermOf(const Lease& lease) {
  return lease.term > absl::ZeroDuration() ? lease.term : kDefaultTerm;
}

absl::Duration RenewTimeout(absl::Duration term) { return term / 6; }

void RenewalPlan::Add(const Lease& lease, Time now, const Digest& job) {
  const Time::duration period = absl::ToChronoNanoseconds(TermOf(lease) / 3);
  leases_[lease.id] = {.period = period, .due = now + period, .job = job};
}

void RenewalPlan::NoteProgress(const Digest& job) {
  for (auto& [id, kept] : leases_) {
    if (kept.job == job) kept.progress = true;
  }
}

RenewalPlan::Time RenewalPlan::NextDue() const {
  return std::min_element(leases_.begin(), leases_.end(),
                          [](const auto& a, const auto& b) { return a.second.due < b.second.due; })
      ->second.due;
}

RenewalPlan::Batch RenewalPlan::Take(Time now) {
  Batch batch;
  for (auto& [id, kept] : leases_) {
    if (kept.due > now + kept.period / 4) continue;
    if (batch.ids.empty()) batch.progress = kept.progress;
    if (kept.progress != batch.progress) continue;  // still due
    kept.progress = false;
    batch.ids.push_back(id);
    batch.timeout = std::min(batch.timeout, RenewTimeout(3 * absl::FromChrono(kept.period)));
    kept.due = now + kept.period;
    if (batch.ids.size() == kMaxRenewals) break;  // the others are still due
  }
  return batch;
}

void RenewalPlan::Succeeded(const Batch& batch, const std::vector<Client::Renewal>& outcomes) {
  for (size_t i = 0; i < batch.ids.size(); ++i) {
    if (outcomes[i] != Client::Renewal::kRenewed) leases_.erase(batch.ids[i]);
  }
}

void RenewalPlan::Failed(const Batch& batch, Time now) {
  for (const std::string& id : batch.ids) {
    const auto kept = leases_.find(id);
    if (kept == leases_.end()) continue;
    kept->second.due = now + kept->second.period / 8;
    kept->second.progress |= batch.progress;
  }
}

LeaseKeeper::~LeaseKeeper() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void LeaseKeeper::Add(const Lease& lease, const Digest& job) {
  std::lock_guard lock(mutex_);
  plan_.Add(lease, RenewalPlan::Time::clock::now(), job);
  if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
  wake_.notify_all();  // it may be due before all others
}

void LeaseKeeper::Remove(const Lease& lease) {
  std::lock_guard lock(mutex_);
  plan_.Remove(lease.id);
}

void LeaseKeeper::NoteProgress(const Digest& job) {
  std::lock_guard lock(mutex_);
  plan_.NoteProgress(job);
}

void LeaseKeeper::Run() {
  using Clock = RenewalPlan::Time::clock;
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (plan_.empty()) {
      wake_.wait(lock);
      continue;
    }
    if (const Clock::time_point due = plan_.NextDue(); Clock::now() < due) {
      wake_.wait_until(lock, due);
      continue;
    }
    const RenewalPlan::Batch batch = plan_.Take(Clock::now());
    lock.unlock();
    const absl::StatusOr<std::vector<Client::Renewal>> outcomes = renew_(batch);
    lock.lock();
    if (outcomes.ok()) {
      plan_.Succeeded(batch, *outcomes);
    } else {
      plan_.Failed(batch, Clock::now());
    }
  }
}

}  // namespace tiffin
