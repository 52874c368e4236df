#include "server/jobs/memory_state.h"

#include <algorithm>
#include <limits>

#include "common/status.h"

namespace tiffin::server {
namespace {

// The row of that key in a table of pointers to rows.
template <typename Map, typename Key>
auto CopyOf(const Map& map, const Key& key)
    -> std::optional<typename Map::mapped_type::element_type> {
  const auto it = map.find(key);
  if (it == map.end()) return std::nullopt;
  return *it->second;
}

// The least row id: where the entries of a first key begin.
constexpr RowId kFirst = std::numeric_limits<RowId>::min();

}  // namespace

void ChangeLog::UndoTo(size_t keep) {
  while (steps_.size() > keep) {
    steps_.back().undo(*state_);
    steps_.pop_back();
  }
}

void ChangeLog::RedoOn(MemoryState& copy) const {
  for (const Step& step : steps_) step.redo(copy);
}

template <typename I>
absl::StatusOr<RowId> MemoryLookups<I>::FindNamespace(std::string_view name) {
  return FindIn(state().namespaces, name).value_or(0);
}

template <typename I>
absl::StatusOr<std::optional<JobRow>> MemoryLookups<I>::FindJob(RowId namespace_id,
                                                                const Digest& key) {
  return FindJob(FindIn(state().job_keys, std::pair(key, namespace_id)).value_or(0));
}

template <typename I>
absl::StatusOr<std::optional<JobRow>> MemoryLookups<I>::FindJob(RowId id) {
  absl::StatusOr<std::optional<JobRow>> row = CopyOf(state().jobs, id);
  if (row.ok() && *row && (*row)->damaged) return DamagedJobRow();
  return row;
}

template <typename I>
absl::StatusOr<std::optional<std::string>> MemoryLookups<I>::FindJobRecord(RowId job) {
  return CopyOf(state().job_records, job);
}

template <typename I>
absl::StatusOr<std::optional<HitsRow>> MemoryLookups<I>::FindHits(RowId job) {
  return FindIn(state().hits, job);
}

template <typename I>
absl::StatusOr<std::vector<JobRow>> MemoryLookups<I>::ListJobs(const JobRange& range, int limit) {
  std::vector<JobRow> rows;
  const auto take = [&](const JobRow& row) {
    if (static_cast<int>(rows.size()) >= limit) return false;
    if (row.namespace_id == range.namespace_id &&
        (range.function.empty() || row.function == range.function) &&
        (!range.function.empty() || range.session == 0 || row.session == range.session)) {
      rows.push_back(row);
    }
    return true;
  };
  const auto& jobs = state().jobs;
  if (range.newest_first) {
    auto it = range.after == 0 ? jobs.end() : jobs.lower_bound(range.after);
    while (it != jobs.begin() && take(*(--it)->second)) {
    }
  } else {
    auto it = jobs.upper_bound(range.after);
    while (it != jobs.end() && take(*it->second)) ++it;
  }
  return rows;
}

template <typename I>
absl::StatusOr<std::vector<JobRow>> MemoryLookups<I>::ListAllJobs(RowId after, int limit) {
  std::vector<JobRow> rows;
  const auto& jobs = state().jobs;
  for (auto it = jobs.upper_bound(after); it != jobs.end() && static_cast<int>(rows.size()) < limit;
       ++it) {
    rows.push_back(*it->second);
  }
  return rows;
}

template <typename I>
absl::StatusOr<std::optional<ResultRow>> MemoryLookups<I>::FindResult(RowId job) {
  return CopyOf(state().results, job);
}

template <typename I>
absl::StatusOr<std::optional<ResultRow>> MemoryLookups<I>::FindValueOf(RowId namespace_id,
                                                                       const Digest& key) {
  TIFFIN_ASSIGN_OR_RETURN(
      std::optional<ResultRow> row,
      FindResult(FindIn(state().job_keys, std::pair(key, namespace_id)).value_or(0)));
  if (row && (row->kind != ResultKind::kValue || row->damaged)) row.reset();
  return row;
}

template <typename I>
absl::StatusOr<std::optional<LeaseRow>> MemoryLookups<I>::FindLease(RowId job) {
  return CopyOf(state().leases, job);
}

template <typename I>
absl::StatusOr<std::optional<LeaseRow>> MemoryLookups<I>::FindLeaseById(std::string_view lease_id) {
  return CopyOf(state().leases, FindIn(state().lease_ids, lease_id).value_or(0));
}

template <typename I>
absl::StatusOr<std::vector<LeaseRow>> MemoryLookups<I>::AllLeases() {
  std::vector<LeaseRow> rows;
  for (const auto& [job, lease] : state().leases) rows.push_back(*lease);
  return rows;
}

template <typename I>
absl::StatusOr<std::vector<RowId>> MemoryLookups<I>::JobsLinkedTo(RowId job) {
  std::vector<RowId> jobs;
  const auto& links = state().links;
  for (auto it = links.lower_bound({job, kFirst}); it != links.end(); ++it) {
    if (it->first.first != job) break;
    jobs.push_back(it->first.second);
  }
  return jobs;
}

template <typename I>
absl::StatusOr<std::optional<SessionRow>> MemoryLookups<I>::FindSession(RowId id) {
  return CopyOf(state().sessions, id);
}

template <typename I>
absl::StatusOr<std::optional<SessionRow>> MemoryLookups<I>::FindSession(RowId namespace_id,
                                                                        std::string_view token) {
  return FindSession(
      FindIn(state().session_tokens, std::pair(namespace_id, std::string(token))).value_or(0));
}

template <typename I>
absl::StatusOr<std::optional<AliasRow>> MemoryLookups<I>::FindAlias(RowId namespace_id,
                                                                    std::string_view profile,
                                                                    std::string_view name) {
  const std::optional<RowId> job =
      FindIn(state().aliases, std::tuple(namespace_id, std::string(profile), std::string(name)));
  if (!job) return std::nullopt;
  return AliasRow{.namespace_id = namespace_id,
                  .profile = std::string(profile),
                  .name = std::string(name),
                  .job = *job};
}

template <typename I>
absl::StatusOr<std::vector<AliasRow>> MemoryLookups<I>::ListAliases(RowId namespace_id,
                                                                    std::string_view profile,
                                                                    std::string_view after_profile,
                                                                    std::string_view after_name,
                                                                    int limit) {
  std::vector<AliasRow> rows;
  const auto& aliases = state().aliases;
  const std::tuple after(namespace_id, std::string(after_profile), std::string(after_name));
  for (auto it = aliases.upper_bound(after); it != aliases.end(); ++it) {
    const auto& [of_namespace, of_profile, name] = it->first;
    if (of_namespace != namespace_id || static_cast<int>(rows.size()) >= limit) break;
    if (!profile.empty() && of_profile != profile) continue;
    rows.push_back(
        {.namespace_id = namespace_id, .profile = of_profile, .name = name, .job = it->second});
  }
  return rows;
}

template <typename I>
absl::StatusOr<std::vector<AliasRow>> MemoryLookups<I>::ListAllAliases(const AliasRow& after,
                                                                       int limit) {
  std::vector<AliasRow> rows;
  const auto& aliases = state().aliases;
  for (auto it = aliases.upper_bound({after.namespace_id, after.profile, after.name});
       it != aliases.end(); ++it) {
    if (static_cast<int>(rows.size()) >= limit) break;
    const auto& [of_namespace, profile, name] = it->first;
    rows.push_back(
        {.namespace_id = of_namespace, .profile = profile, .name = name, .job = it->second});
  }
  return rows;
}

template <typename I>
absl::StatusOr<std::optional<BlobRow>> MemoryLookups<I>::FindBlob(const BlobName& name) {
  return FindBlob(FindIn(state().blob_names, name).value_or(0));
}

template <typename I>
absl::StatusOr<std::optional<BlobRow>> MemoryLookups<I>::FindBlob(RowId id) {
  return CopyOf(state().blobs, id);
}

template <typename I>
absl::StatusOr<std::vector<BlobRow>> MemoryLookups<I>::FindBlobsByKey(RowId namespace_id,
                                                                      const Digest& key) {
  std::vector<BlobRow> rows;
  const auto& names = state().blob_names;
  for (auto it = names.lower_bound({.key = key, .dtype = "", .shape = {}}); it != names.end();
       ++it) {
    if (it->first.key != key) break;
    if (state().views.contains({it->second, namespace_id})) {
      rows.push_back(*state().blobs.at(it->second));
    }
  }
  std::sort(rows.begin(), rows.end(),
            [](const BlobRow& a, const BlobRow& b) { return a.id < b.id; });
  return rows;
}

template <typename I>
absl::StatusOr<bool> MemoryLookups<I>::BlobVisible(RowId namespace_id, RowId blob) {
  return state().views.contains({blob, namespace_id});
}

template <typename I>
absl::StatusOr<std::optional<BlobRow>> MemoryLookups<I>::FindValue(const Digest& value) {
  return FindBlob(FindIn(state().values, value).value_or(0));
}

template <typename I>
absl::StatusOr<std::vector<ValueRow>> MemoryLookups<I>::ListValues(
    const std::optional<Digest>& after, int limit) {
  std::vector<ValueRow> rows;
  const auto& values = state().values;
  for (auto it = after ? values.upper_bound(*after) : values.begin(); it != values.end(); ++it) {
    if (static_cast<int>(rows.size()) >= limit) break;
    rows.push_back({.value = it->first, .blob = it->second});
  }
  return rows;
}

template <typename I>
absl::StatusOr<std::vector<BlobRow>> MemoryLookups<I>::BlobsInPack(std::string_view pack) {
  std::vector<BlobRow> rows;
  const auto& index = state().pack_blobs;
  for (auto it = index.lower_bound({std::string(pack), kFirst}); it != index.end(); ++it) {
    if (it->first.first != pack) break;
    rows.push_back(*state().blobs.at(it->first.second));
  }
  return rows;
}

template <typename I>
absl::StatusOr<std::vector<BlobRow>> MemoryLookups<I>::ListBlobs(RowId namespace_id, RowId after,
                                                                 int limit) {
  std::vector<BlobRow> rows;
  for (auto it = state().blobs.upper_bound(after); it != state().blobs.end(); ++it) {
    if (static_cast<int>(rows.size()) >= limit) break;
    if (state().views.contains({it->first, namespace_id})) rows.push_back(*it->second);
  }
  return rows;
}

template <typename I>
absl::StatusOr<bool> MemoryLookups<I>::BlobInUse(RowId blob) {
  const auto used = state().used_by.lower_bound({blob, BlobUse::kArgument, kFirst});
  if (used != state().used_by.end() && std::get<0>(used->first) == blob) return true;
  const auto held = state().held_by.lower_bound({blob, kFirst});
  return held != state().held_by.end() && held->first.first == blob;
}

template <typename I>
absl::StatusOr<std::vector<BlobRow>> MemoryLookups<I>::UnusedBlobs(RowId after, int limit) {
  std::vector<BlobRow> rows;
  for (auto it = state().blobs.upper_bound(after); it != state().blobs.end(); ++it) {
    if (static_cast<int>(rows.size()) >= limit) break;
    TIFFIN_ASSIGN_OR_RETURN(const bool used, BlobInUse(it->first));
    if (!used) rows.push_back(*it->second);
  }
  return rows;
}

template <typename I>
absl::StatusOr<std::vector<BlobRow>> MemoryLookups<I>::ListAllBlobs(RowId after, int limit) {
  std::vector<BlobRow> rows;
  for (auto it = state().blobs.upper_bound(after); it != state().blobs.end(); ++it) {
    if (static_cast<int>(rows.size()) >= limit) break;
    rows.push_back(*it->second);
  }
  return rows;
}

template <typename I>
absl::StatusOr<std::vector<ResultUse>> MemoryLookups<I>::ListResultUses(RowId after, int limit) {
  std::vector<ResultUse> uses;
  const auto& results = state().results;
  for (auto it = results.upper_bound(after); it != results.end(); ++it) {
    if (static_cast<int>(uses.size()) >= limit) break;
    ResultUse use{it->first, it->second->stored};
    const std::optional<HitsRow> hits = FindIn(state().hits, it->first);
    if (hits) use.used = std::max(use.used, hits->last);
    uses.push_back(use);
  }
  return uses;
}

template <typename I>
absl::StatusOr<std::vector<AliasRow>> MemoryLookups<I>::AliasesOf(RowId job) {
  std::vector<AliasRow> rows;
  for (const auto& [key, of_job] : state().aliases) {
    if (of_job == job) rows.push_back({std::get<0>(key), std::get<1>(key), std::get<2>(key), job});
  }
  return rows;
}

template <typename I>
absl::StatusOr<uint64_t> MemoryLookups<I>::UsedBytes() {
  uint64_t bytes = 0;
  for (const auto& [job, record] : state().job_records) bytes += record->size();
  for (const auto& [job, row] : state().results) bytes += row->record.size() + row->log.size();
  return bytes;
}

template <typename I>
absl::StatusOr<std::vector<RowId>> MemoryLookups<I>::BlobsHolding(RowId inner) {
  std::vector<RowId> blobs;
  const auto& index = state().held_by;
  for (auto it = index.lower_bound({inner, kFirst}); it != index.end(); ++it) {
    if (it->first.first != inner) break;
    blobs.push_back(it->first.second);
  }
  return blobs;
}

template <typename I>
absl::StatusOr<std::vector<RowId>> MemoryLookups<I>::BlobsHeldBy(RowId blob) {
  std::vector<RowId> inner;
  for (auto it = state().holds.lower_bound({blob, kFirst}); it != state().holds.end(); ++it) {
    if (it->first.first != blob) break;
    inner.push_back(it->first.second);
  }
  return inner;
}

template <typename I>
absl::StatusOr<PackUse> MemoryLookups<I>::UseOfPacks(std::string_view prefix) {
  PackUse use{std::string(prefix), 0, 0};
  const auto& index = state().pack_blobs;
  for (auto it = index.lower_bound({use.pack, kFirst}); it != index.end(); ++it) {
    if (!it->first.first.starts_with(prefix)) break;
    ++use.blobs;
    use.bytes += state().blobs.at(it->first.second)->size;
  }
  return use;
}

template <typename I>
absl::StatusOr<std::vector<PackUse>> MemoryLookups<I>::PackUses() {
  std::vector<PackUse> uses;
  for (const auto& [key, unused] : state().pack_blobs) {
    if (uses.empty() || uses.back().pack != key.first) uses.push_back({key.first, 0, 0});
    ++uses.back().blobs;
    uses.back().bytes += state().blobs.at(key.second)->size;
  }
  return uses;
}

template <typename I>
absl::StatusOr<std::vector<RowId>> MemoryLookups<I>::JobsUsing(RowId namespace_id, RowId blob,
                                                               BlobUse use, int limit) {
  std::vector<RowId> jobs;
  const auto& index = state().used_by;
  for (auto it = index.lower_bound({blob, use, kFirst}); it != index.end(); ++it) {
    const auto& [of_blob, of_use, job] = it->first;
    if (of_blob != blob || of_use != use || static_cast<int>(jobs.size()) >= limit) break;
    if (state().jobs.at(job)->namespace_id == namespace_id) jobs.push_back(job);
  }
  return jobs;
}

template <typename I>
absl::StatusOr<std::vector<RowId>> MemoryLookups<I>::BlobsUsed(RowId job, BlobUse use) {
  std::vector<RowId> blobs;
  const auto& uses = state().uses;
  for (auto it = uses.lower_bound({job, use, kFirst}); it != uses.end(); ++it) {
    const auto& [of_job, of_use, blob] = it->first;
    if (of_job != job || of_use != use) break;
    blobs.push_back(blob);
  }
  return blobs;
}

template <typename I>
absl::StatusOr<std::vector<RowId>> MemoryLookups<I>::JobsWithEvidence(RowId after, int limit) {
  std::vector<RowId> jobs;
  for (const auto& [key, row] : state().evidence) {
    if (static_cast<int>(jobs.size()) >= limit) break;
    if (key.first > after && (jobs.empty() || jobs.back() != key.first)) jobs.push_back(key.first);
  }
  return jobs;
}

template <typename I>
absl::StatusOr<std::vector<RowId>> MemoryLookups<I>::AllJobsUsing(RowId blob, BlobUse use) {
  std::vector<RowId> jobs;
  const auto& index = state().used_by;
  for (auto it = index.lower_bound({blob, use, kFirst}); it != index.end(); ++it) {
    const auto& [of_blob, of_use, job] = it->first;
    if (of_blob != blob || of_use != use) break;
    jobs.push_back(job);
  }
  return jobs;
}

template <typename I>
absl::StatusOr<std::vector<EvidenceRow>> MemoryLookups<I>::Evidence(RowId job) {
  std::vector<EvidenceRow> rows;
  const auto& evidence = state().evidence;
  for (auto it = evidence.lower_bound({job, Digest()}); it != evidence.end(); ++it) {
    if (it->first.first != job) break;
    rows.push_back(*it->second);
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [](const EvidenceRow& a, const EvidenceRow& b) { return a.at < b.at; });
  return rows;
}

template <typename I>
absl::StatusOr<std::vector<PackRow>> MemoryLookups<I>::AllPacks(PackState wanted) {
  std::vector<PackRow> rows;
  for (const auto& [name, pack_state] : state().packs) {
    if (pack_state == wanted) rows.push_back({.name = name, .state = pack_state});
  }
  return rows;
}

template <typename I>
absl::StatusOr<std::optional<PackRow>> MemoryLookups<I>::FindPack(std::string_view name) {
  const std::optional<PackState> found = FindIn(state().packs, name);
  if (!found) return std::nullopt;
  return PackRow{.name = std::string(name), .state = *found};
}

template <typename I>
absl::StatusOr<DatabaseCounts> MemoryLookups<I>::Counts() {
  return state().counters.rows;
}

template class MemoryLookups<JobReader>;
template class MemoryLookups<JobTransaction>;

}  // namespace tiffin::server
