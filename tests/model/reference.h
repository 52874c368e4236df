// What DESIGN.md 5 says of jobs, as plainly as it can be written: the store is compared with it.
#ifndef TIFFIN_TESTS_MODEL_REFERENCE_H_
#define TIFFIN_TESTS_MODEL_REFERENCE_H_

#include <chrono>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/jobs/job_database.h"

namespace tiffin::server {

using Millis = std::chrono::milliseconds;

struct ReferenceLease {
  std::string id, request;
  int client = -1;  // that asked for it by Submit
  int64_t epoch = 0;
  Millis term{}, deadline{}, held_since{};
};

struct ReferenceJob {
  bool known = false;
  JobState state = JobState::kAbsent;
  std::optional<ReferenceLease> lease;
  std::set<int64_t> epochs;  // granted since the last invalidation
  int64_t last_epoch = 0;
  int losses = 0;
  bool keep = true;          // what is stored under the last epoch
  std::string record;        // of what is stored, if anything is
  int64_t stored_epoch = 0;  // under which that was stored
  Millis stored_at{};
  int link = -1;
};

class Reference {
 public:
  static constexpr int kMaxLost = 3;
  static constexpr Millis kMaxHold{200'000};

  explicit Reference(int jobs) : jobs(static_cast<size_t>(jobs)) {}

  std::vector<ReferenceJob> jobs;
  Millis now{};
  // What an event ended: those who wait for these jobs must hear it. With the record.
  std::vector<std::pair<int, std::string>> endings;

  int End(int job) const;    // behind all links
  bool Free(int job) const;  // neither done nor held
  std::vector<int> Followers(int job) const;

  void Grant(int job, const ReferenceLease& lease, bool keep);
  // The code of the answer; what is stored is `record`.
  enum class Kind { kValue, kError, kWorkflow };
  absl::StatusCode Store(int job, Kind kind, const std::string& lease_id, int64_t epoch,
                         const std::string& record);
  absl::StatusCode Link(int job, const std::string& lease_id, int target);
  void Release(int job);
  void Renew(int job, bool progress);
  bool Withdraw(int job, Tombstone why);
  // Lets time pass: leases whose time is over lapse.
  void Advance(Millis by);
  // Every lease has its full term again.
  void Restart();

 private:
  void EndedFor(int job);  // it, and those who follow it
  void Lose(int job);      // those who follow it unfold again
};

}  // namespace tiffin::server

#endif  // TIFFIN_TESTS_MODEL_REFERENCE_H_
