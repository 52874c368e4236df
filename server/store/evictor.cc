#include "server/store/evictor.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <map>
#include <queue>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/match.h"
#include "common/status.h"
#include "server/store/damaged.h"
#include "server/store/job_effects.h"
#include "server/store/job_views.h"

namespace tiffin::server {
namespace {

constexpr int kPage = 2000;             // results looked at in one snapshot
constexpr size_t kCandidates = 50'000;  // remembered at a time
constexpr size_t kPart = 64;            // results of one transaction

auto Order(const ResultUse& use) { return std::make_tuple(use.used, use.job); }
bool Earlier(const ResultUse& a, const ResultUse& b) { return Order(a) < Order(b); }

// What evicting results would free, without doing it.
class Simulation {
 public:
  explicit Simulation(BlobCatalogue& blobs) : blobs_(blobs) {}

  absl::Status Evict(JobReader& reader, const JobRow& job, EvictCounts* counts, uint64_t* freed) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<ResultRow> result, reader.FindResult(job.id));
    if (result) *freed += result->record.size() + result->log.size();
    ++counts->results;
    for (const BlobUse use : {BlobUse::kResult, BlobUse::kArgument}) {
      TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> used, reader.BlobsUsed(job.id, use));
      for (const RowId blob : used) TIFFIN_RETURN_IF_ERROR(Drop(reader, blob, counts, freed));
    }
    return absl::OkStatus();
  }

 private:
  // One use less of the blob.
  absl::Status Drop(JobReader& reader, RowId blob, EvictCounts* counts, uint64_t* freed) {
    const auto [it, first] = uses_.try_emplace(blob, 0);
    if (first) {
      TIFFIN_ASSIGN_OR_RETURN(const auto made, reader.AllJobsUsing(blob, BlobUse::kResult));
      TIFFIN_ASSIGN_OR_RETURN(const auto used, reader.AllJobsUsing(blob, BlobUse::kArgument));
      TIFFIN_ASSIGN_OR_RETURN(const auto holders, reader.BlobsHolding(blob));
      it->second = made.size() + used.size() + holders.size();
    }
    if (it->second == 0 || --it->second > 0 || blobs_.Pinned(blob)) return absl::OkStatus();
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> row, reader.FindBlob(blob));
    if (!row) return absl::OkStatus();
    ++counts->blobs;
    counts->blob_bytes += row->size;
    *freed += row->size;
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> held, reader.BlobsHeldBy(blob));
    for (const RowId inner : held) TIFFIN_RETURN_IF_ERROR(Drop(reader, inner, counts, freed));
    return absl::OkStatus();
  }

  BlobCatalogue& blobs_;
  std::map<RowId, size_t> uses_;
};

}  // namespace

absl::StatusOr<bool> MayEvict(JobReader& reader, BlobCatalogue& blobs, const JobRow& job,
                              const std::set<RowId>& gone) {
  if (job.state != JobState::kDone && job.state != JobState::kLinked) return false;
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> followers, reader.JobsLinkedTo(job.id));
  for (const RowId follower : followers) {
    if (!gone.contains(follower)) return false;
  }
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<AliasRow> aliases, reader.AliasesOf(job.id));
  for (const AliasRow& alias : aliases) {
    if (!absl::StartsWith(alias.profile, "noodles/")) return false;
  }
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> made,
                          reader.BlobsUsed(job.id, BlobUse::kResult));
  return std::none_of(made.begin(), made.end(), [&](RowId blob) { return blobs.Pinned(blob); });
}

absl::StatusOr<uint64_t> StoredBytes(JobReader& reader) {
  TIFFIN_ASSIGN_OR_RETURN(const DatabaseCounts counts, reader.Counts());
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t rows, reader.UsedBytes());
  return static_cast<uint64_t>(counts.blob_bytes) + rows;
}

absl::StatusOr<uint64_t> Evictor::KeptBytes() {
  uint64_t bytes = 0;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(bytes, StoredBytes(reader));
    return absl::OkStatus();
  }));
  return bytes;
}

absl::StatusOr<Evictor::Uses> Evictor::NextOldest(const ResultUse& after) {
  std::priority_queue<ResultUse, Uses, decltype(&Earlier)> oldest(&Earlier);  // the latest on top
  for (RowId row = 0;;) {
    Uses page;
    TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(page, reader.ListResultUses(row, kPage));
      return absl::OkStatus();
    }));
    if (page.empty()) break;
    row = page.back().job;
    for (const ResultUse& use : page) {
      if (!Earlier(after, use)) continue;
      if (oldest.size() == kCandidates && !Earlier(use, oldest.top())) continue;
      oldest.push(use);
      if (oldest.size() > kCandidates) oldest.pop();
    }
  }
  Uses out;
  for (; !oldest.empty(); oldest.pop()) out.push_back(oldest.top());
  std::reverse(out.begin(), out.end());
  return out;
}

absl::Status Evictor::ForOldest(const std::function<absl::StatusOr<bool>(const Uses&)>& stop) {
  ResultUse after{0, absl::InfinitePast()};
  while (true) {
    TIFFIN_ASSIGN_OR_RETURN(const Uses oldest, NextOldest(after));
    if (oldest.empty()) return absl::OkStatus();
    for (size_t at = 0; at < oldest.size(); at += kPart) {
      const size_t end = std::min(at + kPart, oldest.size());
      TIFFIN_ASSIGN_OR_RETURN(const bool stopped,
                              stop(Uses(oldest.begin() + static_cast<ptrdiff_t>(at),
                                        oldest.begin() + static_cast<ptrdiff_t>(end))));
      if (stopped) return absl::OkStatus();
    }
    after = oldest.back();
  }
}

absl::StatusOr<EvictCounts> Evictor::Run(uint64_t max_bytes, bool dry_run) {
  if (!dry_run) TIFFIN_RETURN_IF_ERROR(blobs_->CheckMayCollect());
  TIFFIN_RETURN_IF_ERROR(jobs_->FlushHits());
  if (dry_run) return Simulate(max_bytes);
  DatabaseCounts before, after;
  const auto count = [&](DatabaseCounts* counts) {
    return database_->Read([counts](JobReader& reader) -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(*counts, reader.Counts());
      return absl::OkStatus();
    });
  };
  TIFFIN_RETURN_IF_ERROR(count(&before));
  EvictCounts counts;
  TIFFIN_ASSIGN_OR_RETURN(counts.kept_bytes, KeptBytes());
  if (counts.kept_bytes > max_bytes) {
    // What nothing uses goes first.
    TIFFIN_ASSIGN_OR_RETURN(counts.collected, blobs_->Collect(false));
    TIFFIN_ASSIGN_OR_RETURN(counts.kept_bytes, KeptBytes());
  }
  if (counts.kept_bytes > max_bytes) {
    TIFFIN_RETURN_IF_ERROR(ForOldest([&](const Uses& part) -> absl::StatusOr<bool> {
      std::vector<RowId> jobs;
      for (const ResultUse& use : part) jobs.push_back(use.job);
      TIFFIN_ASSIGN_OR_RETURN(const JobStore::Evicted evicted, jobs_->Evict(jobs, max_bytes));
      counts.results += evicted.results;
      return evicted.enough;
    }));
    TIFFIN_ASSIGN_OR_RETURN(counts.kept_bytes, KeptBytes());
  }
  TIFFIN_RETURN_IF_ERROR(count(&after));
  counts.blobs = static_cast<uint64_t>(std::max<int64_t>(before.blobs - after.blobs, 0));
  counts.blob_bytes =
      static_cast<uint64_t>(std::max<int64_t>(before.blob_bytes - after.blob_bytes, 0));
  spdlog::info("event=evicted results={} blobs={} bytes={} kept={}", counts.results, counts.blobs,
               counts.blob_bytes, counts.kept_bytes);
  return counts;
}

absl::StatusOr<EvictCounts> Evictor::Simulate(uint64_t max_bytes) {
  EvictCounts counts;
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t stored, KeptBytes());
  uint64_t freed = 0;
  // What nothing uses goes first; the rest of the dry run counts it.
  TIFFIN_ASSIGN_OR_RETURN(const CollectCounts unused, blobs_->Collect(true));
  freed += unused.blob_bytes;
  const auto kept = [&] { return stored - std::min(stored, freed); };
  if (kept() > max_bytes) {
    std::set<RowId> gone;
    Simulation simulation(*blobs_);
    TIFFIN_RETURN_IF_ERROR(ForOldest([&](const Uses& part) -> absl::StatusOr<bool> {
      TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
        for (const ResultUse& use : part) {
          TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> job, FindSoundJob(reader, use.job));
          if (!job || kept() <= max_bytes) continue;
          TIFFIN_ASSIGN_OR_RETURN(const bool may, MayEvict(reader, *blobs_, *job, gone));
          if (!may) continue;
          TIFFIN_RETURN_IF_ERROR(simulation.Evict(reader, *job, &counts, &freed));
          gone.insert(job->id);
        }
        return absl::OkStatus();
      }));
      return kept() <= max_bytes;
    }));
  }
  counts.kept_bytes = kept();
  return counts;
}

// ---- on the writer
// --------------------------------------------------------------------------------

absl::Status JobStore::FlushHits() {
  WriteAllHits();
  return database_->WriteAndWait([](JobTransaction&) { return absl::OkStatus(); });
}

absl::StatusOr<JobStore::Evicted> JobStore::Evict(std::span<const RowId> jobs, uint64_t max_bytes) {
  Evicted evicted;
  TIFFIN_RETURN_IF_ERROR(Change([&](JobTransaction& tx, Effects& effects) -> absl::Status {
    evicted = Evicted();
    for (const RowId id : jobs) {
      TIFFIN_ASSIGN_OR_RETURN(const uint64_t stored, StoredBytes(tx));
      if (stored <= max_bytes) {
        evicted.enough = true;
        break;
      }
      TIFFIN_ASSIGN_OR_RETURN(std::optional<JobRow> row, FindSoundJob(tx, id));
      if (!row || hits_.Find(id)) continue;  // read just now
      TIFFIN_ASSIGN_OR_RETURN(const bool may, MayEvict(tx, *blobs_, *row));
      if (!may) continue;
      TIFFIN_ASSIGN_OR_RETURN(std::vector<RowId> used, tx.BlobsUsed(id, BlobUse::kResult));
      TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> arguments,
                              tx.BlobsUsed(id, BlobUse::kArgument));
      used.insert(used.end(), arguments.begin(), arguments.end());
      TIFFIN_ASSIGN_OR_RETURN(JobInHand job, WithLease(tx, *std::move(row)));
      const Transition t = server::Withdraw(job.life(), Tombstone::kEvicted, 0);
      if (!t.accepted()) continue;
      job.row.buried = clock_->Now();
      TIFFIN_RETURN_IF_ERROR(ApplyIn(tx, effects, job, t, {}));
      // Whoever submits it again brings its arguments, or is told which are missing.
      TIFFIN_RETURN_IF_ERROR(tx.DropUses(id, BlobUse::kArgument));
      TIFFIN_RETURN_IF_ERROR(blobs_->DeleteUnused(tx, std::move(used)));
      ++evicted.results;
    }
    return absl::OkStatus();
  }));
  return evicted;
}

}  // namespace tiffin::server
