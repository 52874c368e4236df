// Keeps leases alive. Private to the library.
#ifndef TIFFIN_CLIENT_LEASE_KEEPER_H_
#define TIFFIN_CLIENT_LEASE_KEEPER_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/client.h"

namespace tiffin {

// What one Renew takes at most.
inline constexpr size_t kMaxRenewals = 10'000;

// The lease's term; the server's default if it came without one.
absl::Duration TermOf(const Lease& lease);
// How long a renewal of a lease may take: well under its term, so that others can follow.
absl::Duration RenewTimeout(absl::Duration term);

// Which leases are to be renewed when: each at a third of its own term. It is told the time and
// waits for nothing. Not thread-safe.
class RenewalPlan {
 public:
  using Time = std::chrono::steady_clock::time_point;
  // The leases of one Renew.
  struct Batch {
    std::vector<std::string> ids;
    absl::Duration timeout = absl::InfiniteDuration();
    bool progress = false;  // all of them have got on since they were last renewed
  };

  void Add(const Lease& lease, Time now, const Digest& job = {});
  void Remove(const std::string& id) { leases_.erase(id); }
  // Tells of the job's leases, with their next renewal, that the computation has got on.
  void NoteProgress(const Digest& job);
  bool empty() const { return leases_.empty(); }
  // When the first is due; there must be one.
  Time NextDue() const;
  // What is due at `now`, and what is due so soon after that it may come along; kMaxRenewals at
  // most, all with progress or all without. These are due again a third of their terms later.
  Batch Take(Time now);
  // The leases that were renewed stay in the plan, the others leave it.
  void Succeeded(const Batch& batch, const std::vector<Client::Renewal>& outcomes);
  // The whole call failed: it is due again soon, long before the leases lapse.
  void Failed(const Batch& batch, Time now);

 private:
  struct Kept {
    Time::duration period;  // a third of the term
    Time due;
    Digest job;
    bool progress = false;  // to be told
  };
  std::map<std::string, Kept> leases_;  // by id
};

// Renews leases as a RenewalPlan says, on a thread of its own that starts with the first lease.
// Leases that ended elsewhere, or are lost, are not asked for again. Threads: all methods may be
// called from any thread.
class LeaseKeeper {
 public:
  // Renews the leases, gives up after the timeout. One outcome for each, in the order asked.
  using RenewCall =
      std::function<absl::StatusOr<std::vector<Client::Renewal>>(const RenewalPlan::Batch& batch)>;

  explicit LeaseKeeper(RenewCall renew) : renew_(std::move(renew)) {}
  ~LeaseKeeper();
  LeaseKeeper(const LeaseKeeper&) = delete;
  LeaseKeeper& operator=(const LeaseKeeper&) = delete;

  void Add(const Lease& lease, const Digest& job = {});
  // A renewal that is under way may still name it.
  void Remove(const Lease& lease);
  void NoteProgress(const Digest& job);

 private:
  void Run();

  const RenewCall renew_;
  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  RenewalPlan plan_;
  bool stop_ = false;
  std::thread thread_;
};

// Keeps one lease while it lives.
class KeptLease {
 public:
  KeptLease(LeaseKeeper* keeper, Lease lease, const Digest& job)
      : keeper_(*keeper), lease_(std::move(lease)) {
    keeper_.Add(lease_, job);
  }
  ~KeptLease() { keeper_.Remove(lease_); }
  KeptLease(const KeptLease&) = delete;
  KeptLease& operator=(const KeptLease&) = delete;

 private:
  LeaseKeeper& keeper_;
  const Lease lease_;
};

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_LEASE_KEEPER_H_
