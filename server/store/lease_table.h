// The terms of live leases, in memory on the steady clock. The database has the leases themselves;
// after a restart each gets a full term.
#ifndef TIFFIN_SERVER_STORE_LEASE_TABLE_H_
#define TIFFIN_SERVER_STORE_LEASE_TABLE_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/time/time.h"
#include "server/jobs/job_database.h"
#include "server/store/clock.h"

namespace tiffin::server {

enum class Renewal { kRenewed, kDoneElsewhere, kLost };

// Threads: all methods may be called from any thread.
class LeaseTable {
 public:
  // A lease held `max_hold` without progress lapses even if it is renewed.
  LeaseTable(Clock* clock, absl::Duration max_hold);
  ~LeaseTable() { Stop(); }

  // Starts calling `on_lapse(job, lease id)` from a thread of its own for leases whose term is
  // over. Called once a term; a Renew that comes before Remove begins a new one. `on_alarm` is
  // called from there, too, when the time of CallIn is over.
  void Start(std::function<void(RowId, const std::string&)> on_lapse,
             std::function<void()> on_alarm);
  // Has `on_alarm` called once, after `delay` or sooner if that was asked for.
  void CallIn(absl::Duration delay);
  void Stop();

  // Begins (or begins again) a full term.
  void Add(const LeaseRow& lease);
  // Ends a lease; `why` is what Renew answers for it from now on.
  void Remove(std::string_view lease_id, Renewal why);
  Renewal Renew(std::string_view lease_id, bool progress = false);
  // Of many, in order. With `progress` they are held from now on.
  std::vector<Renewal> Renew(std::span<const std::string> lease_ids, bool progress);
  // The job of a live one; 0: none.
  RowId JobOf(std::string_view lease_id);
  // Their holder got on.
  void NoteProgress(std::string_view lease_id);
  // True if the lease is known and its term is over now.
  bool Lapsed(std::string_view lease_id);
  // It could not be ended: it lives on for a term.
  void Revive(std::string_view lease_id);
  size_t size();

 private:
  struct Live {
    RowId job;
    SteadyTime::duration term;
    SteadyTime deadline;
    SteadyTime held_since;
    bool ending = false;  // on its way out: not to be renewed any more
  };
  Renewal RenewLocked(const std::string& id, bool progress);
  void Run();
  void Schedule(const std::string& id, Live& live);

  Clock* const clock_;
  const SteadyTime::duration max_hold_;
  std::mutex mutex_;  // guards all below
  std::condition_variable wake_;
  std::unordered_map<std::string, Live> live_;
  std::set<std::pair<SteadyTime, std::string>> deadlines_;
  // The latest leases that ended because somebody else stored the result.
  std::unordered_map<std::string, Renewal> ended_;
  std::deque<std::string> ended_order_;
  std::optional<SteadyTime> alarm_;
  bool stop_ = false;
  std::function<void(RowId, const std::string&)> on_lapse_;
  std::function<void()> on_alarm_;
  std::thread thread_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_LEASE_TABLE_H_
