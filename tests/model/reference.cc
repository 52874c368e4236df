#include "tests/model/reference.h"

#include <algorithm>

namespace tiffin::server {

int Reference::End(int job) const {
  while (jobs[job].state == JobState::kLinked) job = jobs[job].link;
  return job;
}

bool Reference::Free(int job) const {
  const ReferenceJob& end = jobs[End(job)];
  return end.state != JobState::kDone && !end.lease;
}

std::vector<int> Reference::Followers(int job) const {
  std::vector<int> out;
  for (int other = 0; other < static_cast<int>(jobs.size()); ++other) {
    for (int at = other; jobs[at].state == JobState::kLinked;) {
      at = jobs[at].link;
      if (at == job) out.push_back(other);
    }
  }
  return out;
}

void Reference::EndedFor(int job) {
  endings.emplace_back(job, jobs[job].record);
  for (const int follower : Followers(job)) endings.emplace_back(follower, jobs[job].record);
}

void Reference::Lose(int job) {
  for (const int follower : Followers(job)) {
    jobs[follower].state = JobState::kUnfolding;
    jobs[follower].link = -1;
  }
}

void Reference::Grant(int id, const ReferenceLease& lease, bool keep) {
  ReferenceJob& job = jobs[id];
  job.keep = keep;
  const bool workflow = job.state == JobState::kLinked || job.state == JobState::kUnfolding;
  job.known = true;
  job.state = workflow ? JobState::kUnfolding : JobState::kLeased;
  job.link = -1;
  job.lease = lease;
  job.lease->held_since = now;
  job.lease->deadline = now + std::min(lease.term, kMaxHold);
  job.last_epoch = lease.epoch;
  job.epochs.insert(lease.epoch);
}

absl::StatusCode Reference::Store(int id, Kind kind, const std::string& lease_id, int64_t epoch,
                                  const std::string& record) {
  ReferenceJob& job = jobs[id];
  if (!job.known) return absl::StatusCode::kNotFound;
  // Errors and workflows are the job's own; values are what is read, through links.
  const ReferenceJob& read = kind == Kind::kValue ? jobs[End(id)] : job;
  if (read.state == JobState::kDone) {
    return kind == Kind::kValue && read.record == record ? absl::StatusCode::kOk
                                                         : absl::StatusCode::kAlreadyExists;
  }
  const bool holds =
      job.lease && job.lease->id == lease_id && (epoch == 0 || epoch == job.lease->epoch);
  if (kind == Kind::kValue) {
    // Any epoch since the last invalidation; without one only if nobody holds the job.
    if (!holds && (epoch == 0 ? job.lease.has_value() : !job.epochs.contains(epoch))) {
      return absl::StatusCode::kFailedPrecondition;
    }
    const bool last = job.lease || (epoch != 0 && epoch == job.last_epoch);
    const bool keep = job.keep || !last;
    job.record = record;
    job.stored_epoch = epoch;
    EndedFor(id);
    job.lease.reset();
    job.losses = 0;
    job.link = -1;
    job.state = keep ? JobState::kDone : JobState::kAbsent;
    if (!keep) Lose(id);
    job.keep = keep;
    return absl::StatusCode::kOk;
  }
  const bool repeated =
      epoch != 0 && job.stored_epoch == epoch && job.record == record &&
      (kind == Kind::kError ? job.state == JobState::kFailed
                            : job.state == JobState::kUnfolding || job.state == JobState::kLinked);
  if (repeated) return absl::StatusCode::kOk;
  if (!holds) return absl::StatusCode::kFailedPrecondition;
  job.record = record;
  job.stored_epoch = job.lease->epoch;
  job.stored_at = now;
  job.losses = 0;
  if (kind == Kind::kWorkflow) {
    job.state = JobState::kUnfolding;
    job.lease->held_since = now;
    return absl::StatusCode::kOk;
  }
  job.state = JobState::kFailed;
  job.lease.reset();
  EndedFor(id);
  return absl::StatusCode::kOk;
}

absl::StatusCode Reference::Link(int id, const std::string& lease_id, int target) {
  ReferenceJob& job = jobs[id];
  if (!job.known || !jobs[target].known) return absl::StatusCode::kNotFound;
  if (job.state == JobState::kLinked && job.link == target) return absl::StatusCode::kOk;
  if (job.state != JobState::kUnfolding || !job.lease || job.lease->id != lease_id ||
      End(target) == id) {
    return absl::StatusCode::kFailedPrecondition;
  }
  job.lease.reset();
  job.losses = 0;
  job.state = JobState::kLinked;
  job.link = target;
  const ReferenceJob& end = jobs[End(target)];
  if (end.state == JobState::kDone || end.state == JobState::kFailed) {
    endings.emplace_back(id, end.record);
  }
  return absl::StatusCode::kOk;
}

void Reference::Release(int id) {
  ReferenceJob& job = jobs[id];
  if (!job.lease) return;
  job.lease.reset();
  if (job.state == JobState::kLeased) job.state = JobState::kAbsent;
  Lose(id);
}

void Reference::Renew(int id, bool progress) {
  ReferenceLease& lease = *jobs[id].lease;
  if (progress) lease.held_since = now;
  lease.deadline = std::min(now + lease.term, lease.held_since + kMaxHold);
}

bool Reference::Withdraw(int id, Tombstone why) {
  ReferenceJob& job = jobs[id];
  if (!job.known) return false;
  const bool evicted = job.state == JobState::kDone || job.state == JobState::kLinked;
  const bool damaged = job.state == JobState::kDone || job.state == JobState::kFailed ||
                       job.state == JobState::kUnfolding;
  if (why == Tombstone::kEvicted && !evicted) return false;
  if (why == Tombstone::kDamaged && !damaged) return false;
  if (job.state == JobState::kAbsent && job.epochs.empty()) return false;
  if (why == Tombstone::kInvalidated) {
    job.epochs.clear();
    job.losses = 0;
  }
  job.lease.reset();
  job.state = JobState::kAbsent;
  job.record.clear();
  job.stored_epoch = 0;
  job.link = -1;
  Lose(id);
  return true;
}

void Reference::Advance(Millis by) {
  now += by;
  for (int id = 0; id < static_cast<int>(jobs.size()); ++id) {
    ReferenceJob& job = jobs[id];
    if (!job.lease || job.lease->deadline > now) continue;
    if (++job.losses < kMaxLost) {
      Release(id);
      continue;
    }
    job.state = JobState::kFailed;
    job.record = "LOST";
    job.stored_epoch = job.lease->epoch;
    job.stored_at = now;
    job.losses = 0;
    job.lease.reset();
    EndedFor(id);
  }
}

void Reference::Restart() {
  for (ReferenceJob& job : jobs) {
    if (!job.lease) continue;
    job.lease->held_since = now;
    job.lease->deadline = now + std::min(job.lease->term, kMaxHold);
  }
}

}  // namespace tiffin::server
