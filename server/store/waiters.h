// Who waits for which job, on which stream. In memory only: a waiter asks again after a restart.
#ifndef TIFFIN_SERVER_STORE_WAITERS_H_
#define TIFFIN_SERVER_STORE_WAITERS_H_

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/store/answers.h"

namespace tiffin::server {

// One open Await. Events are told in order; `tell` must not block and may be called from the
// writer's thread. After Waiters::Close returns, it is not called again.
struct AwaitSession {
  bool can_compute = false;
  absl::Duration term;
  CallerInfo caller;
  std::function<void(uint64_t index, WaitEvent event)> tell;
  // Calls it, on another thread, once the client has taken what it was told; or never, if the
  // stream ends. Absent: what is told is taken at once.
  std::function<void(std::function<void()>)> when_taken;
};

// One who waits for a job.
struct WaiterInfo {
  SessionRow session;
  absl::Time since;
  bool can_compute = false;
};

// A job as waiters know it; it need not be in the database.
struct WaitKey {
  RowId namespace_id = 0;
  Digest key;
  friend auto operator<=>(const WaitKey&, const WaitKey&) = default;
};

// Threads: all methods may be called from any thread. Events for one job are told in the order of
// the calls, which the store makes on the writer's thread, after COMMIT.
class Waiters {
 public:
  using SessionId = uint64_t;

  SessionId Open(AwaitSession session);
  void Close(SessionId session);

  // See AwaitSession::when_taken.
  void WhenTaken(SessionId session, std::function<void()> next);

  // Adds to what may still be granted on the stream. Returns jobs it waits for that are open, which
  // should be offered: as many as it can take.
  std::vector<WaitKey> AddCapacity(SessionId session, uint64_t leases);

  // Waits from `now` on. False: the stream is gone.
  bool Add(SessionId session, uint64_t index, const WaitKey& key, int64_t after_epoch,
           absl::Time now);
  // Tells all who wait for the job, who then have their ending.
  void End(const WaitKey& key, const WaitEvent& event);
  // Tells all who wait for the job (kAttached or kOpen); they go on waiting.
  void Tell(const WaitKey& key, const WaitEvent& event);
  // Ends one waiter. False: it is gone, nobody heard.
  bool EndOne(SessionId session, uint64_t index, const WaitKey& key, WaitEvent event);
  // Tells one; it goes on waiting. It need not be (what it asked about has ended already).
  bool TellOne(SessionId session, uint64_t index, WaitEvent event);

  // The one who waits longest, can compute and has capacity, which is taken from it. It goes on
  // waiting until EndOne. If there is none, the job is open to all who wait for it.
  struct Candidate {
    SessionId session;
    uint64_t index;
    CallerInfo caller;
    absl::Duration term;
  };
  std::optional<Candidate> TakeCandidate(const WaitKey& key);
  // Gives a candidate's capacity back. `open`: nobody computes the job; else those who wait for it
  // hear when that changes. Returns what should be offered instead.
  std::vector<WaitKey> GiveBack(const Candidate& candidate, const WaitKey& key, bool open);

  size_t waiting();
  size_t WaitingFor(const WaitKey& key);
  // At most `most` of them, who waits longest first.
  std::vector<WaiterInfo> WhoWaitsFor(const WaitKey& key, size_t most);

 private:
  struct Waiter {
    SessionId session;
    uint64_t index;
    int64_t after_epoch;
    absl::Time since;
  };
  struct Open_ {
    AwaitSession session;
    uint64_t capacity = 0;
    std::map<uint64_t, WaitKey> items;
    std::set<uint64_t> open;  // items whose jobs nobody computes, as last told
  };
  void TellLocked(SessionId session, uint64_t index, WaitEvent event);
  static std::vector<WaitKey> ToOffer(const Open_& open);

  std::mutex mutex_;  // guards all below; `tell` is called under it, so that Close is a barrier
  SessionId next_ = 1;
  std::map<SessionId, Open_> open_;
  std::map<WaitKey, std::list<Waiter>> by_key_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_WAITERS_H_
