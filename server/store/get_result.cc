// Reading results, and counting how often that is done.
#include <algorithm>
#include <utility>

#include "common/status.h"
#include "server/store/damaged.h"
#include "server/store/job_store.h"
#include "server/store/job_views.h"

namespace tiffin::server {
namespace {

// Hits of one operation: others get their turn between two.
constexpr size_t kHitsPart = 1024;

std::string WhyNoResult(const JobRow& row) {
  switch (row.state) {
    case JobState::kFailed:
      return ": it failed; submit it to run it again";
    case JobState::kLeased:
      return ": still computed";
    case JobState::kUnfolding:
      return ": its workflow is still unfolded";
    default:
      break;
  }
  switch (row.tombstone) {
    case Tombstone::kInvalidated:
      return ": its result was invalidated";
    case Tombstone::kEvicted:
      return ": its result was evicted";
    case Tombstone::kDamaged:
      return ": its result was damaged";
    default:
      return ": no result";
  }
}

}  // namespace

std::shared_ptr<const FoundResult> JobStore::FindHot(std::string_view name_space,
                                                     const Digest& key) {
  const RowId ns = cache_.FindNamespace(name_space);
  std::shared_ptr<const FoundResult> found = ns == 0 ? nullptr : cache_.Find(ns, key);
  if (found) CountHit(found->job);
  return found;
}

JobStore::Found JobStore::GetResult(std::string_view name_space, const JobAddress& address) {
  if (const auto* key = std::get_if<Digest>(&address)) {
    if (auto found = FindHot(name_space, *key)) return found;
  }
  return std::move(GetResults(name_space, {&address, 1})[0]);
}

std::vector<JobStore::Found> JobStore::GetResults(std::string_view name_space,
                                                  std::span<const JobAddress> addresses,
                                                  size_t max_bytes) {
  std::vector<Found> out;
  size_t bytes = 0;
  bool damaged = false;
  const uint64_t ticket = cache_.Ticket();
  const absl::Status status = database_->Read([&](JobReader& reader) -> absl::Status {
    RowId ns = cache_.FindNamespace(name_space);
    if (ns == 0) {
      TIFFIN_ASSIGN_OR_RETURN(ns, reader.FindNamespace(name_space));
      cache_.RememberNamespace(name_space, ns);
    }
    for (const JobAddress& address : addresses) {
      out.push_back(FindIn(reader, ns, address, ticket, &damaged));
      if (!out.back().ok()) continue;
      CountHit((*out.back())->job);
      bytes += TextBytes((*out.back())->result);
      if (bytes >= max_bytes) break;
    }
    return absl::OkStatus();
  });
  while (!status.ok() && out.size() < addresses.size()) out.push_back(status);
  if (damaged) {
    // What is answered as gone is gone for all; if that cannot be written, the next reader tries
    // again.
    database_->WriteAndWait([](JobTransaction&) { return absl::OkStatus(); }).IgnoreError();
  }
  return out;
}

JobStore::Found JobStore::FindIn(JobReader& reader, RowId ns, const JobAddress& address,
                                 uint64_t ticket, bool* damaged) {
  std::optional<JobRow> job;
  auto found = std::make_shared<FoundResult>();
  if (const auto* alias = std::get_if<AliasKey>(&address)) {
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<AliasRow> row,
                            FindSoundAlias(reader, ns, alias->profile, alias->name));
    if (!row) {
      return absl::NotFoundError(absl::StrCat("no alias ", alias->name, " in ", alias->profile));
    }
    TIFFIN_ASSIGN_OR_RETURN(job, reader.FindJob(row->job));
    if (job) found->key = job->key;
  } else {
    found->key = std::get<Digest>(address);
    if (auto hot = ns == 0 ? nullptr : cache_.Find(ns, found->key)) return hot;
    if (ns != 0) {
      TIFFIN_ASSIGN_OR_RETURN(std::optional<ResultRow> value, reader.FindValueOf(ns, found->key));
      if (value) {
        found->job = value->job;
        TIFFIN_ASSIGN_OR_RETURN(found->result, Dress(reader, *std::move(value)));
        cache_.Add(ns, found, ticket);
        return found;
      }
      TIFFIN_ASSIGN_OR_RETURN(job, reader.FindJob(ns, found->key));
    }
  }
  const std::string name = absl::StrCat("job ", found->key.ToText());
  if (!job) return absl::NotFoundError(absl::StrCat(name, ": never submitted here"));
  TIFFIN_ASSIGN_OR_RETURN(const std::optional<JobRow> end, FollowLinks(reader, *job));
  if (!end || end->state != JobState::kDone) {
    return absl::NotFoundError(absl::StrCat(name, WhyNoResult(end ? *end : JobRow())));
  }
  absl::StatusOr<std::optional<StoredResult>> stored = FindStored(reader, *end, *job);
  if (DamagedJobOf(stored.status()) != 0 || (stored.ok() && !*stored)) {
    WithdrawDamagedResult(end->id);
    *damaged = true;
    return absl::NotFoundError(absl::StrCat(name, ": its result was damaged"));
  }
  if (!stored.ok()) return stored.status();
  found->job = job->id;
  found->result = *std::move(*stored);
  cache_.Add(ns, found, ticket);
  return found;
}

void JobStore::CountHit(RowId job) {
  if (hits_.Count(job))
    WriteHits(std::make_shared<std::vector<HitsRow>>(hits_.Take()), 0, kHitsPart);
}

void JobStore::WriteAllHits() {
  WriteHits(std::make_shared<std::vector<HitsRow>>(hits_.Take()), 0, SIZE_MAX);
}

void JobStore::WriteHits(std::shared_ptr<const std::vector<HitsRow>> rows, size_t start,
                         size_t part) {
  if (start == rows->size()) return;
  const size_t end = start + std::min(part, rows->size() - start);
  // Nobody waits, and nobody is told: they are approximate.
  database_->Write({[rows, start, end](JobTransaction& tx) -> absl::Status {
                      for (size_t i = start; i < end; ++i) {
                        TIFFIN_RETURN_IF_ERROR(tx.AddHits((*rows)[i]));
                      }
                      return absl::OkStatus();
                    },
                    [this, rows, end, part](const absl::Status& status) {
                      if (status.ok()) WriteHits(rows, end, part);
                    }});
}

absl::StatusOr<std::string> JobStore::Inline(std::string_view name_space, std::string_view json) {
  RowId ns = cache_.FindNamespace(name_space);
  if (ns == 0) {
    TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(ns, reader.FindNamespace(name_space));
      return absl::OkStatus();
    }));
  }
  return Inlined(json, ns, options_.limits, *blobs_);
}

absl::StatusOr<DatabaseCounts> JobStore::Counts() {
  DatabaseCounts counts;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(counts, reader.Counts());
    return absl::OkStatus();
  }));
  return counts;
}

}  // namespace tiffin::server
