#include "server/store/job_life.h"

namespace tiffin::server {
namespace {

Transition Refuse(const Life& life, Verdict verdict) { return {.verdict = verdict, .next = life}; }

Transition From(const Life& life) { return {.next = life}; }

void EndLease(Transition& t, Transition::Lease how) {
  if (!t.next.leased) return;
  t.next.leased = false;
  t.lease = how;
}

// The lease ended without a result.
void BecomeFree(Transition& t) {
  EndLease(t, Transition::Lease::kLost);
  if (t.next.state == JobState::kLeased) t.next.state = JobState::kAbsent;
  t.tell = Transition::Tell::kFree;
  t.frees_followers = true;
}

void BecomeFailed(Transition& t) {
  EndLease(t, Transition::Lease::kLost);
  t.next.state = JobState::kFailed;
  t.next.losses = 0;
  t.result = Transition::Result::kPut;
  t.tell = Transition::Tell::kFailed;
}

bool HoldsLease(const Life& life, const Claim& claim) {
  return life.leased && claim.holds && (claim.epoch == 0 || claim.epoch == life.epoch);
}

Verdict JudgeValue(const Life& life, const Claim& claim) {
  if (HoldsLease(life, claim)) return Verdict::kAccepted;
  if (life.leased && claim.holds) return Verdict::kWrongEpoch;
  if (claim.epoch == 0) return life.leased ? Verdict::kHeldByOther : Verdict::kAccepted;
  if (claim.epoch > life.epoch) return Verdict::kNeverGranted;
  if (claim.epoch < life.valid_from) return Verdict::kStale;
  return Verdict::kAccepted;  // a holder whose lease lapsed comes late
}

}  // namespace

Standing StandingOf(const Life& end) {
  if (end.state == JobState::kDone) return Standing::kDone;
  return end.leased ? Standing::kHeld : Standing::kFree;
}

Transition Grant(const Life& life, const Life& end, int64_t epoch, bool keep) {
  if (life.leased || StandingOf(end) != Standing::kFree) return Refuse(life, Verdict::kNotFree);
  Transition t = From(life);
  if (life.state == JobState::kLinked) {
    t.next.state = JobState::kUnfolding;
    t.drops_link = true;
  } else if (life.state != JobState::kUnfolding) {
    if (life.state == JobState::kFailed) t.result = Transition::Result::kDrop;
    t.next.state = JobState::kLeased;
  }
  t.next.epoch = epoch;
  t.next.leased = true;
  t.next.keep = keep;
  t.lease = Transition::Lease::kBegins;
  t.tell = Transition::Tell::kHeld;
  return t;
}

Transition StoreValue(const Life& life, const Life& end, const Claim& claim, bool same) {
  if (StandingOf(end) == Standing::kDone) {
    return Refuse(life, same ? Verdict::kRepeated : Verdict::kOtherValue);
  }
  const Verdict verdict = JudgeValue(life, claim);
  if (verdict != Verdict::kAccepted) return Refuse(life, verdict);
  Transition t = From(life);
  // Under the last grant, live or not, also a second time: as that said. Else it is kept, unless
  // somebody computes the job now whose result is not to be.
  const bool last = life.leased || (claim.epoch != 0 && claim.epoch == life.epoch);
  const bool keep = life.keep || !last;
  EndLease(t, Transition::Lease::kDoneElsewhere);
  t.drops_link = life.state == JobState::kLinked;
  t.next.state = keep ? JobState::kDone : JobState::kAbsent;
  t.next.losses = 0;
  t.result = keep ? Transition::Result::kPut : Transition::Result::kDrop;
  t.tell = Transition::Tell::kResult;
  // Those who follow heard the value; there is none to find any more.
  t.frees_followers = !keep;
  if (!keep) return t;
  t.next.keep = true;
  t.next.tombstone = Tombstone::kNone;
  return t;
}

Transition StoreError(const Life& life, const Claim& claim, bool same, bool same_epoch) {
  if (life.state == JobState::kDone) return Refuse(life, Verdict::kDoneBefore);
  if (life.state == JobState::kFailed && same && same_epoch) {
    return Refuse(life, Verdict::kRepeated);
  }
  if (!HoldsLease(life, claim)) return Refuse(life, Verdict::kNotHeld);
  Transition t = From(life);
  BecomeFailed(t);
  return t;
}

Transition StoreWorkflow(const Life& life, const Claim& claim, bool same, bool same_epoch) {
  if (life.state == JobState::kDone) return Refuse(life, Verdict::kDoneBefore);
  if ((life.state == JobState::kUnfolding || life.state == JobState::kLinked) && same &&
      same_epoch) {
    return Refuse(life, Verdict::kRepeated);
  }
  if (!HoldsLease(life, claim)) return Refuse(life, Verdict::kNotHeld);
  Transition t = From(life);
  t.next.state = JobState::kUnfolding;
  t.next.losses = 0;
  t.result = Transition::Result::kPut;
  return t;
}

Transition LinkTo(const Life& life, const Claim& claim, bool linked_there, bool loop) {
  if (life.state == JobState::kLinked && linked_there) return Refuse(life, Verdict::kRepeated);
  if (life.state != JobState::kUnfolding) return Refuse(life, Verdict::kNotUnfolding);
  if (!HoldsLease(life, claim)) return Refuse(life, Verdict::kNotHeld);
  if (loop) return Refuse(life, Verdict::kLoop);
  Transition t = From(life);
  EndLease(t, Transition::Lease::kLost);
  t.next.state = JobState::kLinked;
  t.next.losses = 0;
  return t;
}

Transition Lapse(const Life& life, int64_t max_lost) {
  if (!life.leased) return Refuse(life, Verdict::kNotHeld);
  Transition t = From(life);
  ++t.next.losses;
  if (t.next.losses < max_lost) {
    BecomeFree(t);
  } else {
    BecomeFailed(t);
  }
  return t;
}

Transition Release(const Life& life) {
  if (!life.leased) return Refuse(life, Verdict::kRepeated);
  Transition t = From(life);
  BecomeFree(t);
  return t;
}

Transition Withdraw(const Life& life, Tombstone why, int64_t now) {
  Transition t = From(life);
  if (why == Tombstone::kInvalidated) {
    // Nothing to take, and nothing that could come late.
    if (life.state == JobState::kAbsent && life.epoch < life.valid_from) {
      return Refuse(life, Verdict::kRepeated);
    }
    if (life.state == JobState::kAbsent && life.epoch == 0) {
      return Refuse(life, Verdict::kRepeated);
    }
    t.next.valid_from = now;
    t.next.losses = 0;
  } else {
    const bool other = why == Tombstone::kEvicted
                           ? life.state == JobState::kLinked
                           : life.state == JobState::kFailed || life.state == JobState::kUnfolding;
    if (life.state != JobState::kDone && !other) return Refuse(life, Verdict::kRepeated);
  }
  EndLease(t, Transition::Lease::kLost);
  t.drops_link = life.state == JobState::kLinked;
  t.next.state = JobState::kAbsent;
  t.next.tombstone = why;
  t.result = Transition::Result::kDrop;
  t.tell = Transition::Tell::kFree;
  t.frees_followers = true;
  return t;
}

Transition LoseTarget(const Life& life) {
  if (life.state != JobState::kLinked) return Refuse(life, Verdict::kRepeated);
  Transition t = From(life);
  t.next.state = JobState::kUnfolding;
  t.drops_link = true;
  t.tell = Transition::Tell::kFree;
  return t;
}

}  // namespace tiffin::server
