// Await: the state now, then what changes; and who is granted what becomes free.
#include <algorithm>
#include <utility>

#include "common/status.h"
#include "server/store/damaged.h"
#include "server/store/job_effects.h"
#include "server/store/job_store.h"
#include "server/store/job_views.h"

namespace tiffin::server {
namespace {
// Jobs of one operation: others get their turn between two of a large call.
constexpr size_t kPart = 256;
// of results: the next are looked up when the client has taken these
constexpr size_t kPartBytes = 1 << 20;
constexpr absl::Duration kStalledFor = absl::Seconds(1);
}  // namespace

void JobStore::Await(Waiters::SessionId session, const CallerInfo& caller,
                     std::vector<AwaitItem> items) {
  AwaitPart(session, caller, std::make_shared<const std::vector<AwaitItem>>(std::move(items)), 0);
}

void JobStore::AwaitPart(Waiters::SessionId session, const CallerInfo& caller,
                         std::shared_ptr<const std::vector<AwaitItem>> items, size_t start) {
  if (start == items->size()) return;
  const size_t end = std::min(items->size(), start + kPart);
  const std::span<const AwaitItem> part(items->data() + start, end - start);
  // An item's own error (an alias that does not exist) is told to it alone.
  auto errors = std::make_shared<std::vector<std::pair<uint64_t, absl::Status>>>();
  auto looked = std::make_shared<size_t>(0);
  const auto tell_error = [this, session](uint64_t index, const absl::Status& status) {
    waiters_.TellOne(session, index, WaitEvent{.kind = WaitEvent::Kind::kError, .error = status});
  };
  ChangeOnce(
      [this, session, caller, items, part, errors, looked](JobTransaction& tx,
                                                           Effects& effects) -> absl::Status {
        errors->clear();
        *looked = 0;
        size_t bytes = 0;
        TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.EnsureNamespace(caller.name_space));
        for (const AwaitItem& item : part) {
          absl::Status status = LookIn(tx, effects, session, ns, item, &bytes);
          if (!status.ok()) errors->emplace_back(item.index, std::move(status));
          ++*looked;
          if (bytes >= kPartBytes) break;
        }
        return absl::OkStatus();
      },
      [this, session, caller, items, start, part, errors, looked,
       tell_error](const absl::Status& status) {
        if (!status.ok()) {  // each has one ending, its own errors did not happen
          for (size_t i = start; i < items->size(); ++i) tell_error((*items)[i].index, status);
          return;
        }
        for (const auto& error : *errors) {
          const RowId damaged = DamagedJobOf(error.second);
          if (damaged == 0) {
            tell_error(error.first, error.second);
            continue;
          }
          // It is looked at again when that result is gone.
          const AwaitItem item =
              *std::find_if(part.begin(), part.end(),
                            [&](const AwaitItem& each) { return each.index == error.first; });
          WithdrawDamagedResult(damaged, [=, this](const absl::Status& withdrawn) {
            if (withdrawn.ok()) {
              Await(session, caller, {item});
            } else {
              tell_error(item.index, withdrawn);
            }
          });
        }
        if (start + *looked == items->size()) return;
        waiters_.WhenTaken(session, [this, session, caller, items, next = start + *looked] {
          AwaitPart(session, caller, items, next);
        });
      });
}

void JobStore::AddCapacity(Waiters::SessionId session, uint64_t leases) {
  Offer(waiters_.AddCapacity(session, leases));
}

void JobStore::Offer(const std::vector<WaitKey>& keys) {
  for (const WaitKey& key : keys) GrantWaiter(key, false);
}

absl::Status JobStore::LookIn(JobTransaction& tx, Effects& effects, Waiters::SessionId session,
                              RowId ns, const AwaitItem& item, size_t* bytes) {
  std::optional<JobRow> row;
  WaitKey key{ns, {}};
  if (const auto* alias = std::get_if<AliasKey>(&item.job)) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<AliasRow> found,
                            FindSoundAlias(tx, ns, alias->profile, alias->name));
    if (!found) {
      return absl::NotFoundError(absl::StrCat("no alias ", alias->name, " in ", alias->profile));
    }
    TIFFIN_ASSIGN_OR_RETURN(row, tx.FindJob(found->job));
    if (row) key.key = row->key;
  } else {
    key.key = std::get<Digest>(item.job);
    TIFFIN_ASSIGN_OR_RETURN(row, tx.FindJob(ns, key.key));
  }
  WaitEvent event{.kind = WaitEvent::Kind::kOpen, .key = key.key};
  if (row) {
    TIFFIN_ASSIGN_OR_RETURN(const JobInHand job, WithLease(tx, *row));
    TIFFIN_ASSIGN_OR_RETURN(const JobInHand end, EndOf(tx, job));
    const bool failed = end.row.state == JobState::kFailed && item.after_epoch > 0;
    // Epochs of two jobs do not tell which was first: nobody computes what it follows, and why is
    // told.
    const bool linked = end.row.id != job.row.id;
    if (end.row.state == JobState::kDone || failed) {
      TIFFIN_ASSIGN_OR_RETURN(std::optional<StoredResult> stored, FindStored(tx, end.row, job.row));
      if (stored) event.result = std::make_shared<const StoredResult>(*std::move(stored));
    }
    if (event.result && !failed) {
      event.kind = WaitEvent::Kind::kResult;
    } else if (event.result && (linked || event.result->row.epoch >= item.after_epoch)) {
      event.kind = WaitEvent::Kind::kFailed;
    } else if (end.lease) {
      event.result.reset();
      event.kind = WaitEvent::Kind::kAttached;
      TIFFIN_ASSIGN_OR_RETURN(event.holder, HolderOf(tx, *end.lease));
    } else {
      event.result.reset();
    }
    if (event.result) *bytes += TextBytes(*event.result);
  }
  effects.after_commit.push_back([this, session, item, key, event] {
    if (!waiters_.Add(session, item.index, key, item.after_epoch, clock_->Now())) return;
    if (event.kind == WaitEvent::Kind::kResult || event.kind == WaitEvent::Kind::kFailed) {
      waiters_.EndOne(session, item.index, key, event);
    } else {
      waiters_.TellOne(session, item.index, event);
    }
  });
  if (event.kind == WaitEvent::Kind::kOpen && row) effects.offer.push_back(key);
  return absl::OkStatus();
}

void JobStore::GrantWaiter(const WaitKey& key, bool news) {
  if (news) waiters_.Tell(key, WaitEvent{.kind = WaitEvent::Kind::kOpen, .key = key.key});
  std::optional<Waiters::Candidate> candidate = waiters_.TakeCandidate(key);
  if (!candidate) return;
  auto event = std::make_shared<WaitEvent>();
  ChangeOnce(
      [this, key, event, candidate = *candidate](JobTransaction& tx,
                                                 Effects& effects) -> absl::Status {
        *event = WaitEvent{.kind = WaitEvent::Kind::kOpen, .key = key.key};
        TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> row, tx.FindJob(key.namespace_id, key.key));
        if (!row) return absl::OkStatus();
        TIFFIN_ASSIGN_OR_RETURN(JobInHand job, WithLease(tx, *std::move(row)));
        TIFFIN_ASSIGN_OR_RETURN(const JobInHand end, EndOf(tx, job));
        if (StandingOf(end.life()) != Standing::kFree) return absl::OkStatus();
        SessionRow session = candidate.caller.session;
        session.namespace_id = key.namespace_id;
        TIFFIN_ASSIGN_OR_RETURN(const RowId holder, tx.EnsureSession(session));
        TIFFIN_RETURN_IF_ERROR(GrantIn(tx, effects, job, end.life(),
                                       MakeLease(holder, candidate.term, ""),
                                       job.row.keep,  // as the holder before
                                       &event->workflow));
        event->kind = WaitEvent::Kind::kGranted;
        event->lease = job.lease;
        return absl::OkStatus();
      },
      [this, key, event, candidate = *candidate](const absl::Status& status) {
        GrantEnded(candidate, key, *event, status);
      });
}

void JobStore::GrantEnded(const Waiters::Candidate& candidate, const WaitKey& key,
                          const WaitEvent& event, const absl::Status& status) {
  if (!status.ok()) {
    waiters_.GiveBack(candidate, key, true);
    {
      std::lock_guard lock(stalled_mutex_);
      stalled_.push_back(key);
    }
    leases_.CallIn(kStalledFor);  // nobody else may write: all may wait
    return;
  }
  if (event.kind != WaitEvent::Kind::kGranted) {  // somebody else was faster
    Offer(waiters_.GiveBack(candidate, key, false));
    return;
  }
  ++counters_.granted;
  if (waiters_.EndOne(candidate.session, candidate.index, key, event)) return;
  // It has heard another ending, or its stream is gone: nobody knows of the lease.
  ChangeOnce(
      [this, id = event.lease->lease_id](JobTransaction& tx, Effects& effects) -> absl::Status {
        TIFFIN_ASSIGN_OR_RETURN(const std::optional<LeaseRow> lease, tx.FindLeaseById(id));
        size_t released = 0;
        return lease ? ReleaseIn(tx, effects, lease->job, &released) : absl::OkStatus();
      });
  Offer(waiters_.GiveBack(candidate, key, false));
}

}  // namespace tiffin::server
