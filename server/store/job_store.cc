// Changes and what follows from them; leases that end; what is taken back.
#include "server/store/job_store.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <future>
#include <utility>

#include "absl/strings/escaping.h"
#include "common/cbor.h"
#include "common/json.h"
#include "common/status.h"
#include "server/store/damaged.h"
#include "server/store/job_effects.h"
#include "server/store/job_views.h"

namespace tiffin::server {
namespace {

// Jobs of one operation: others get their turn between two of a large call.
constexpr size_t kPart = 256;

// The error record of a job whose holders were lost.
Value LostRecord(int64_t losses, const std::string& hosts) {
  return Value(
      Object{{"error", Value("LOST")},
             {"message", Value(absl::StrCat("lost ", losses, " times while it was computed"))},
             {"hosts", Value(hosts)}});
}

}  // namespace

JobStore::JobStore(JobDatabase* database, BlobCatalogue* blobs, Clock* clock, Options options)
    : database_(database),
      blobs_(blobs),
      clock_(clock),
      options_(std::move(options)),
      leases_(clock, options_.max_hold),
      cache_(options_.cache_bytes),
      hits_(clock) {}

JobStore::~JobStore() { Stop(); }

absl::Status JobStore::Start() {
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<LeaseRow> leases, reader.AllLeases());
    for (const LeaseRow& lease : leases) leases_.Add(lease);
    return absl::OkStatus();
  }));
  leases_.Start(
      [this](RowId job, const std::string& lease) {
        ChangeOnce(
            [this, job, lease](JobTransaction& tx, Effects& effects) {
              return LapseIn(tx, effects, job, lease);
            },
            [this, lease](absl::Status status) {
              // Not committed: the lease lives on, and is looked at again after a term.
              if (!status.ok()) leases_.Revive(lease);
            });
      },
      [this] { OfferStalled(); });
  blobs_->OnDamage([this](RowId blob) { WithdrawDamaged(blob); });
  return absl::OkStatus();
}

// A result that needs a damaged blob is a miss from now on; the next store of it heals the blob.
void JobStore::WithdrawDamaged(RowId blob) {
  std::vector<RowId> jobs;
  absl::Status status = database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(jobs, ResultsNeeding(reader, blob));
    return absl::OkStatus();
  });
  if (status.ok() && !jobs.empty())
    status = Withdraw(std::move(jobs), Tombstone::kDamaged).status();
  if (!status.ok()) {
    spdlog::warn("event=damaged note=\"results not withdrawn\" error=\"{}\"", status.ToString());
  }
}

void JobStore::WithdrawDamagedResult(RowId job, std::function<void(const absl::Status&)> done) {
  ChangeOnce(
      [this, job](JobTransaction& tx, Effects& effects) -> absl::Status {
        // Somebody else may have taken it back, and another result may have come.
        TIFFIN_ASSIGN_OR_RETURN(const std::optional<ResultRow> result, tx.FindResult(job));
        TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> row, FindSoundJob(tx, job));
        if (!row || (result ? !result->damaged : row->state != JobState::kDone)) {
          return absl::OkStatus();
        }
        bool withdrawn = false;
        TIFFIN_RETURN_IF_ERROR(WithdrawIn(tx, effects, job, Tombstone::kDamaged, 0, &withdrawn));
        if (!withdrawn)
          return absl::FailedPreconditionError("a damaged result that cannot be taken back");
        effects.after_commit.push_back([this, key = row->key] {
          ++counters_.damaged;
          spdlog::error(
              "event=damaged job={} error=\"its stored result differs from its checksum\"",
              key.ToText());
        });
        return absl::OkStatus();
      },
      [done = std::move(done)](const absl::Status& status) {
        if (!status.ok()) {
          spdlog::warn("event=damaged note=\"result not withdrawn\" error=\"{}\"",
                       status.ToString());
        }
        if (done) done(status);
      });
}

void JobStore::Stop() {
  blobs_->OnDamage(nullptr);
  leases_.Stop();
  WriteAllHits();
}

// --- Changes
// ---------------------------------------------------------------------------------------

void JobStore::ChangeOnce(Apply apply, Done done) {
  auto effects = std::make_shared<Effects>();
  database_->Write({[apply = std::move(apply), effects](JobTransaction& tx) {
                      *effects = Effects();
                      return apply(tx, *effects);
                    },
                    [this, effects, done = std::move(done)](const absl::Status& status) {
                      if (status.ok()) {
                        for (const auto& effect : effects->after_commit) effect();
                        for (const WaitKey& key : effects->free) GrantWaiter(key, true);
                        Offer(effects->offer);
                        OfferStalled();
                      }
                      if (const RowId damaged = DamagedJobOf(status))
                        WithdrawDamagedResult(damaged);
                      if (done) done(status);
                    }});
}

void JobStore::OfferStalled() {
  std::vector<WaitKey> stalled;
  {
    std::lock_guard lock(stalled_mutex_);
    stalled.swap(stalled_);
  }
  Offer(stalled);
}

void JobStore::Change(Apply apply, Done done, int damaged_left) {
  // Shared by this try and the next.
  auto shared = std::make_shared<const Apply>(std::move(apply));
  ChangeOnce([shared](JobTransaction& tx, Effects& effects) { return (*shared)(tx, effects); },
             [this, shared, done = std::move(done), damaged_left](const absl::Status& status) {
               if (DamagedJobOf(status) == 0 || damaged_left == 0) return done(status);
               Change(*shared, done, damaged_left - 1);
             });
}

absl::Status JobStore::Change(Apply apply) {
  // Shared: the writer may still be inside set_value when the waiter has its answer and returns.
  auto answer = std::make_shared<std::promise<absl::Status>>();
  std::future<absl::Status> fate = answer->get_future();
  Change(std::move(apply), [answer](const absl::Status& status) { answer->set_value(status); });
  return fate.get();
}

absl::Status JobStore::ApplyIn(JobTransaction& tx, Effects& effects, JobInHand& job,
                               const Transition& t, const Facts& facts) {
  TIFFIN_RETURN_IF_ERROR(DropCached(tx, effects, job.row, t));
  JobRow& row = job.row;
  const bool had_result = row.state != JobState::kAbsent && row.state != JobState::kLeased;
  row.state = t.next.state;
  row.epoch = t.next.epoch;
  row.valid_from = t.next.valid_from;
  row.losses = t.next.losses;
  row.keep = t.next.keep;
  if (row.losses == 0) row.lost_hosts.clear();
  if (row.tombstone != t.next.tombstone) row.buried = clock_->Now();
  row.tombstone = t.next.tombstone;
  if (t.drops_link) row.link = 0;
  if (facts.link != 0) row.link = facts.link;
  if (row.id == 0) {
    TIFFIN_ASSIGN_OR_RETURN(row.id, tx.InsertJob(row));
  } else {
    TIFFIN_RETURN_IF_ERROR(tx.UpdateJob(row));
  }
  if (t.lease == Transition::Lease::kBegins) {
    job.lease = *facts.lease;
    job.lease->job = row.id;
    TIFFIN_RETURN_IF_ERROR(tx.PutLease(*job.lease));
    effects.after_commit.push_back([this, lease = *job.lease] { leases_.Add(lease); });
  } else if (t.lease != Transition::Lease::kSame) {
    TIFFIN_RETURN_IF_ERROR(tx.DeleteLease(row.id));
    const Renewal why =
        t.lease == Transition::Lease::kDoneElsewhere ? Renewal::kDoneElsewhere : Renewal::kLost;
    effects.after_commit.push_back(
        [this, id = job.lease->lease_id, why] { leases_.Remove(id, why); });
    job.lease.reset();
  }
  if (t.result != Transition::Result::kSame && had_result) {
    TIFFIN_RETURN_IF_ERROR(tx.DropUses(row.id, BlobUse::kResult));
  }
  if (t.result == Transition::Result::kPut) {
    TIFFIN_RETURN_IF_ERROR(tx.PutResult(*facts.result));
    if (facts.blobs) {
      for (const RowId blob : *facts.blobs) {
        TIFFIN_RETURN_IF_ERROR(tx.AddUse(row.id, blob, BlobUse::kResult));
      }
    }
  } else if (t.result == Transition::Result::kDrop) {
    TIFFIN_RETURN_IF_ERROR(tx.DeleteResult(row.id));
  }
  return TellIn(tx, effects, job, t, facts);
}

absl::Status JobStore::TellIn(JobTransaction& tx, Effects& effects, const JobInHand& job,
                              const Transition& t, const Facts& facts) {
  const WaitKey key{job.row.namespace_id, job.row.key};
  switch (t.tell) {
    case Transition::Tell::kNothing:
      break;
    case Transition::Tell::kHeld: {
      WaitEvent held{.kind = WaitEvent::Kind::kAttached};
      TIFFIN_ASSIGN_OR_RETURN(held.holder, HolderOf(tx, *job.lease));
      TIFFIN_ASSIGN_OR_RETURN(std::vector<JobRow> all, Followers(tx, job.row.id));
      all.push_back(job.row);
      for (const JobRow& each : all) {
        held.key = each.key;
        effects.after_commit.push_back(
            [this, held, key = WaitKey{each.namespace_id, each.key}] { waiters_.Tell(key, held); });
      }
      break;
    }
    case Transition::Tell::kResult:
    case Transition::Tell::kFailed: {
      TIFFIN_ASSIGN_OR_RETURN(const StoredResult stored, Dress(tx, *facts.result));
      TIFFIN_RETURN_IF_ERROR(TellEnding(
          tx, effects, job.row, stored,
          t.tell == Transition::Tell::kResult ? WaitEvent::Kind::kResult : WaitEvent::Kind::kFailed,
          t.result == Transition::Result::kPut));
      break;
    }
    case Transition::Tell::kFree:
      effects.free.push_back(key);
      break;
  }
  if (!t.frees_followers) return absl::OkStatus();
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<JobRow> followers, Followers(tx, job.row.id));
  for (const JobRow& each : followers) {
    JobInHand follower{each, std::nullopt};
    const Transition lost = LoseTarget(follower.life());
    if (lost.accepted()) TIFFIN_RETURN_IF_ERROR(ApplyIn(tx, effects, follower, lost, {}));
  }
  return absl::OkStatus();
}

absl::Status JobStore::TellEnding(JobTransaction& tx, Effects& effects, const JobRow& job,
                                  const StoredResult& result, WaitEvent::Kind kind,
                                  bool is_stored) {
  TIFFIN_ASSIGN_OR_RETURN(std::vector<JobRow> all, Followers(tx, job.id));
  all.push_back(job);
  const auto direct = std::make_shared<const StoredResult>(result);
  auto followed = std::make_shared<StoredResult>(result);
  if (!followed->linked_to) followed->linked_to = job.key;
  for (const JobRow& each : all) {
    WaitEvent event{.kind = kind,
                    .key = each.key,
                    .from = is_stored ? WaitEvent::From::kPushed : WaitEvent::From::kDiscarded};
    if (each.id == job.id) {
      event.result = direct;
    } else {
      event.result = followed;
    }
    effects.after_commit.push_back(
        [this, event, key = WaitKey{each.namespace_id, each.key}] { waiters_.End(key, event); });
  }
  return absl::OkStatus();
}

// What is cached of a job can only change if it was done, or followed another. Those who follow it
// are told apart, unless they go on following.
absl::Status JobStore::DropCached(JobTransaction& tx, Effects& effects, const JobRow& before,
                                  const Transition& t) {
  if (before.state != JobState::kDone && before.state != JobState::kLinked) {
    return absl::OkStatus();
  }
  std::vector<JobRow> all{before};
  if (!t.frees_followers) {
    TIFFIN_ASSIGN_OR_RETURN(all, Followers(tx, before.id));
    all.push_back(before);
  }
  for (const JobRow& each : all) {
    effects.after_commit.push_back(
        [this, ns = each.namespace_id, key = each.key] { cache_.Drop(ns, key); });
  }
  return absl::OkStatus();
}

// --- Leases that end
// -------------------------------------------------------------------------------

absl::Status JobStore::LapseIn(JobTransaction& tx, Effects& effects, RowId id,
                               const std::string& lease_id) {
  if (!leases_.Lapsed(lease_id)) return absl::OkStatus();  // renewed meanwhile
  TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> row, FindSoundJob(tx, id));
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<LeaseRow> lease, tx.FindLease(id));
  if (!row || !lease || lease->lease_id != lease_id) {
    effects.after_commit.push_back([this, lease_id] { leases_.Remove(lease_id, Renewal::kLost); });
    return absl::OkStatus();
  }
  JobInHand job{*std::move(row), lease};
  TIFFIN_ASSIGN_OR_RETURN(const HolderInfo holder, HolderOf(tx, *lease));
  absl::StrAppend(&job.row.lost_hosts, job.row.lost_hosts.empty() ? "" : ",",
                  holder.session.host.empty() ? "unknown" : holder.session.host);
  effects.after_commit.push_back([this, key = job.row.key, host = holder.session.host] {
    ++counters_.lapsed;
    spdlog::info("event=lapsed key={} host=\"{}\"", key.ToText(),
                 absl::CHexEscape(host));  // the client's words
  });
  const Transition t = Lapse(job.life(), options_.limits.max_lost);
  const Value lost = LostRecord(job.row.losses + 1, job.row.lost_hosts);
  ResultRow error{.job = id, .kind = ResultKind::kError, .record = PrintJson(lost)};
  TIFFIN_ASSIGN_OR_RETURN(error.digest, ResultDigest(lost));
  error.epoch = lease->epoch;
  error.stored = clock_->Now();
  error.retryable = true;
  return ApplyIn(tx, effects, job, t, {.result = &error});
}

absl::Status JobStore::ReleaseIn(JobTransaction& tx, Effects& effects, RowId id, size_t* released) {
  TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> row, tx.FindJob(id));
  if (!row) return absl::DataLossError("a lease of no job");
  TIFFIN_ASSIGN_OR_RETURN(JobInHand job, WithLease(tx, *std::move(row)));
  const Transition t = server::Release(job.life());
  if (!t.accepted()) return absl::OkStatus();
  ++*released;
  return ApplyIn(tx, effects, job, t, {});
}

absl::StatusOr<size_t> JobStore::Release(std::vector<std::string> ids) {
  size_t sum = 0;
  for (size_t start = 0; start < ids.size(); start += kPart) {
    size_t released = 0;
    TIFFIN_RETURN_IF_ERROR(Change([&](JobTransaction& tx, Effects& effects) -> absl::Status {
      released = 0;
      for (size_t i = start; i < std::min(start + kPart, ids.size()); ++i) {
        TIFFIN_ASSIGN_OR_RETURN(const std::optional<LeaseRow> lease, tx.FindLeaseById(ids[i]));
        if (lease) TIFFIN_RETURN_IF_ERROR(ReleaseIn(tx, effects, lease->job, &released));
      }
      return absl::OkStatus();
    }));
    sum += released;
  }
  return sum;
}

absl::StatusOr<size_t> JobStore::ForceRelease(std::string_view name_space,
                                              std::vector<Digest> keys) {
  size_t sum = 0;
  for (size_t start = 0; start < keys.size(); start += kPart) {
    size_t released = 0;
    TIFFIN_RETURN_IF_ERROR(Change([&](JobTransaction& tx, Effects& effects) -> absl::Status {
      released = 0;
      TIFFIN_ASSIGN_OR_RETURN(const RowId ns, tx.FindNamespace(name_space));
      for (size_t i = start; i < std::min(start + kPart, keys.size()); ++i) {
        TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> row, tx.FindJob(ns, keys[i]));
        if (row) TIFFIN_RETURN_IF_ERROR(ReleaseIn(tx, effects, row->id, &released));
      }
      return absl::OkStatus();
    }));
    sum += released;
  }
  return sum;
}

absl::Status JobStore::WithdrawIn(JobTransaction& tx, Effects& effects, RowId id, Tombstone why,
                                  int64_t now, bool* withdrawn) {
  *withdrawn = false;
  TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> row, FindSoundJob(tx, id));
  if (!row) return absl::OkStatus();
  TIFFIN_ASSIGN_OR_RETURN(JobInHand job, WithLease(tx, *std::move(row)));
  const Transition t = server::Withdraw(job.life(), why, now);
  if (!t.accepted()) return absl::OkStatus();
  *withdrawn = true;
  job.row.buried = clock_->Now();
  return ApplyIn(tx, effects, job, t, {});
}

absl::StatusOr<size_t> JobStore::Withdraw(std::vector<RowId> jobs, Tombstone why) {
  size_t sum = 0;
  for (size_t start = 0; start < jobs.size(); start += kPart) {
    size_t withdrawn = 0;
    TIFFIN_RETURN_IF_ERROR(Change([&](JobTransaction& tx, Effects& effects) -> absl::Status {
      withdrawn = 0;
      TIFFIN_ASSIGN_OR_RETURN(const int64_t now, tx.NextEpoch());
      for (size_t i = start; i < std::min(start + kPart, jobs.size()); ++i) {
        bool one = false;
        TIFFIN_RETURN_IF_ERROR(WithdrawIn(tx, effects, jobs[i], why, now, &one));
        if (one) ++withdrawn;
      }
      return absl::OkStatus();
    }));
    sum += withdrawn;
  }
  return sum;
}

}  // namespace tiffin::server
