// The life of one job (DESIGN.md 5) as rules: what may follow what, and what follows from it. Knows
// no clock, thread or row; JobStore applies what it says in the writer's transaction.
//
//             Grant                 StoreValue
//   absent ───────────► leased ───────────────► done ── Withdraw ► absent (with a tombstone)
//     ▲  ▲                │ │ └── StoreError ► failed ── Grant ► leased
//     │  └─ Release, Lapse┘ └─ StoreWorkflow ► unfolding ── Link ► linked: follows another job
//     │                                            ▲                   │ its target was lost or
//     └── Withdraw, from any state                 └───────────────────┘ withdrawn (LoseTarget)
#ifndef TIFFIN_SERVER_STORE_JOB_LIFE_H_
#define TIFFIN_SERVER_STORE_JOB_LIFE_H_

#include <cstdint>

#include "server/jobs/job_database.h"

namespace tiffin::server {

// What the rules know of a job.
struct Life {
  JobState state = JobState::kAbsent;
  int64_t epoch = 0;       // of the last grant; the live lease's, if there is one
  int64_t valid_from = 0;  // values of earlier epochs are stale
  int64_t losses = 0;      // leases that lapsed in a row
  bool leased = false;     // a lease is live
  bool keep = true;        // what is stored under the last grant is kept
  Tombstone tombstone = Tombstone::kNone;
  friend bool operator==(const Life&, const Life&) = default;
};

// Who stores or links, as they say.
struct Claim {
  bool holds = false;  // names the live lease by its id
  int64_t epoch = 0;   // 0: none told
};

enum class Verdict {
  kAccepted,
  kRepeated,      // it was so already: nothing changes
  kOtherValue,    // the job is done with another value, which stays; this one is evidence
  kDoneBefore,    // the job is done: no error or workflow any more
  kNotHeld,       // only under the live lease
  kWrongEpoch,    // the lease is of another epoch
  kNeverGranted,  // that epoch is yet to come
  kStale,         // that epoch was granted before the last Withdraw
  kHeldByOther,   // somebody computes it, and neither lease nor epoch is told
  kNotUnfolding,
  kLoop,
  kNotFree,  // it is held, done, or follows a job that is
};

// What follows from an event. Unless kAccepted, nothing changes.
struct Transition {
  Verdict verdict = Verdict::kAccepted;
  Life next;
  enum class Lease { kSame, kBegins, kLost, kDoneElsewhere } lease = Lease::kSame;
  enum class Result { kSame, kPut, kDrop } result = Result::kSame;
  // What those who wait are told. kFree: nobody computes it, one who can is granted the next epoch.
  enum class Tell { kNothing, kHeld, kResult, kFailed, kFree } tell = Tell::kNothing;
  bool drops_link = false;
  // Jobs that follow this one, through others too, have lost their target.
  bool frees_followers = false;

  bool accepted() const { return verdict == Verdict::kAccepted; }
};

// Whether a Submit, or a waiter, of a job finds a result, a holder, or neither. `end` is the job at
// the end of its links, itself if it has none.
enum class Standing { kDone, kHeld, kFree };
Standing StandingOf(const Life& end);

// The right to compute it, under an epoch never given before. A job whose workflow is stored is
// gone on with; any other is begun anew.
Transition Grant(const Life& life, const Life& end, int64_t epoch, bool keep);

// `same`: the stored result is of this kind and digest. `same_epoch`: and of this claim's epoch. A
// value is compared with what the job reads as: that of the job at the `end` of its links.
Transition StoreValue(const Life& life, const Life& end, const Claim& claim, bool same);
Transition StoreError(const Life& life, const Claim& claim, bool same, bool same_epoch);
Transition StoreWorkflow(const Life& life, const Claim& claim, bool same, bool same_epoch);

// `linked_there`: it follows that target already. `loop`: the target is, or follows, the job
// itself.
Transition LinkTo(const Life& life, const Claim& claim, bool linked_there, bool loop);

// The lease's term is over. After `max_lost` in a row the job fails.
Transition Lapse(const Life& life, int64_t max_lost);
Transition Release(const Life& life);

// Its result is gone: invalidated (what earlier epochs store is stale; `now` is a new number of the
// epoch counter), evicted, or damaged. The last two take only results that are there: evicting
// takes values and links, damage takes values, errors and workflows.
Transition Withdraw(const Life& life, Tombstone why, int64_t now);

// The job it follows was lost or withdrawn: it is unfolding again.
Transition LoseTarget(const Life& life);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_JOB_LIFE_H_
