// Private to this folder: the tables in memory, their look-ups, and changes that can be taken back
// or made again on a copy.
#ifndef TIFFIN_SERVER_JOBS_MEMORY_STATE_H_
#define TIFFIN_SERVER_JOBS_MEMORY_STATE_H_

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "server/jobs/counters.h"
#include "server/jobs/job_database.h"

namespace tiffin::server {

template <typename Row>
using RowPtr = std::shared_ptr<const Row>;  // so that copies of the tables share the rows
template <typename Key>
using IndexOf = std::map<Key, std::monostate>;  // a set that has the form of the other tables

// Every table is a map, so that one pair of functions (ChangeLog) changes them all.
struct MemoryState {
  Counters counters;
  std::map<std::string, RowId, std::less<>> namespaces;
  std::map<RowId, RowPtr<SessionRow>> sessions;
  std::map<std::pair<RowId, std::string>, RowId> session_tokens;
  std::map<RowId, RowPtr<JobRow>> jobs;  // without records
  std::map<RowId, RowPtr<std::string>> job_records;
  std::map<RowId, HitsRow> hits;
  std::map<std::pair<Digest, RowId>, RowId> job_keys;  // (key, namespace)
  IndexOf<std::pair<RowId, RowId>> links;              // (followed, follower)
  std::map<RowId, RowPtr<ResultRow>> results;
  std::map<RowId, RowPtr<LeaseRow>> leases;
  std::map<std::string, RowId, std::less<>> lease_ids;
  std::map<std::tuple<RowId, std::string, std::string>, RowId> aliases;
  std::map<std::pair<RowId, Digest>, RowPtr<EvidenceRow>> evidence;
  std::map<RowId, RowPtr<BlobRow>> blobs;
  std::map<BlobName, RowId> blob_names;
  IndexOf<std::pair<std::string, RowId>> pack_blobs;
  IndexOf<std::pair<RowId, RowId>> views;  // (blob, namespace)
  std::map<Digest, RowId> values;
  IndexOf<std::tuple<RowId, BlobUse, RowId>> uses;     // (job, use, blob)
  IndexOf<std::tuple<RowId, BlobUse, RowId>> used_by;  // (blob, use, job)
  IndexOf<std::pair<RowId, RowId>> holds;              // (blob, inner)
  IndexOf<std::pair<RowId, RowId>> held_by;            // (inner, blob)
  std::map<std::string, PackState, std::less<>> packs;
};

template <typename Map, typename Key>
auto FindIn(const Map& map, const Key& key) -> std::optional<typename Map::mapped_type> {
  const auto it = map.find(key);
  if (it == map.end()) return std::nullopt;
  return it->second;
}

// Up to the first ':', as the SQL has it.
inline std::string_view PackPart(std::string_view location) {
  return location.substr(0, location.find(':'));
}

// Changes a state and remembers how.
class ChangeLog {
 public:
  explicit ChangeLog(MemoryState* state) : state_(state) {}

  template <typename Map>
  void Put(Map MemoryState::*table, const typename Map::key_type& key,
           typename Map::mapped_type value) {
    Remember(table, key, std::optional(std::move(value)));
  }
  template <typename Map>
  void Erase(Map MemoryState::*table, const typename Map::key_type& key) {
    Remember(table, key, std::optional<typename Map::mapped_type>());
  }

  size_t size() const { return steps_.size(); }
  // Takes back all but the first `keep` changes.
  void UndoTo(size_t keep);
  // Makes all changes on `copy`, which was equal to the state before them.
  void RedoOn(MemoryState& copy) const;

 private:
  struct Step {
    std::function<void(MemoryState&)> redo, undo;
  };

  template <typename Map>
  void Remember(Map MemoryState::*table, const typename Map::key_type& key,
                std::optional<typename Map::mapped_type> now) {
    auto set = [table, key](std::optional<typename Map::mapped_type> value) {
      return [table, key, value](MemoryState& state) {
        if (value) {
          (state.*table).insert_or_assign(key, *value);
        } else {
          (state.*table).erase(key);
        }
      };
    };
    steps_.push_back({.redo = set(std::move(now)), .undo = set(FindIn(state_->*table, key))});
    steps_.back().redo(*state_);
  }

  MemoryState* state_;
  std::vector<Step> steps_;
};

// The look-ups on a state, for whichever interface they are part of.
template <typename Interface>
class MemoryLookups : public Interface {
 public:
  explicit MemoryLookups(const MemoryState* state) : state_(state) {}

  absl::StatusOr<RowId> FindNamespace(std::string_view name) override;
  absl::StatusOr<std::optional<JobRow>> FindJob(RowId namespace_id, const Digest& key) override;
  absl::StatusOr<std::optional<JobRow>> FindJob(RowId id) override;
  absl::StatusOr<std::optional<std::string>> FindJobRecord(RowId job) override;
  absl::StatusOr<std::vector<JobRow>> ListJobs(const JobRange& range, int limit) override;
  absl::StatusOr<std::vector<JobRow>> ListAllJobs(RowId after, int limit) override;
  absl::StatusOr<std::optional<HitsRow>> FindHits(RowId job) override;
  absl::StatusOr<std::optional<ResultRow>> FindResult(RowId job) override;
  absl::StatusOr<std::optional<ResultRow>> FindValueOf(RowId namespace_id,
                                                       const Digest& key) override;
  absl::StatusOr<std::optional<LeaseRow>> FindLease(RowId job) override;
  absl::StatusOr<std::optional<LeaseRow>> FindLeaseById(std::string_view lease_id) override;
  absl::StatusOr<std::vector<LeaseRow>> AllLeases() override;
  absl::StatusOr<std::vector<RowId>> JobsLinkedTo(RowId job) override;
  absl::StatusOr<std::optional<SessionRow>> FindSession(RowId id) override;
  absl::StatusOr<std::optional<SessionRow>> FindSession(RowId namespace_id,
                                                        std::string_view token) override;
  absl::StatusOr<std::optional<AliasRow>> FindAlias(RowId namespace_id, std::string_view profile,
                                                    std::string_view name) override;
  absl::StatusOr<std::vector<AliasRow>> ListAliases(RowId namespace_id, std::string_view profile,
                                                    std::string_view after_profile,
                                                    std::string_view after_name,
                                                    int limit) override;
  absl::StatusOr<std::vector<AliasRow>> ListAllAliases(const AliasRow& after, int limit) override;
  absl::StatusOr<std::optional<BlobRow>> FindBlob(const BlobName& name) override;
  absl::StatusOr<std::optional<BlobRow>> FindBlob(RowId id) override;
  absl::StatusOr<std::vector<BlobRow>> FindBlobsByKey(RowId namespace_id,
                                                      const Digest& key) override;
  absl::StatusOr<bool> BlobVisible(RowId namespace_id, RowId blob) override;
  absl::StatusOr<std::optional<BlobRow>> FindValue(const Digest& value) override;
  absl::StatusOr<std::vector<ValueRow>> ListValues(const std::optional<Digest>& after,
                                                   int limit) override;
  absl::StatusOr<std::vector<BlobRow>> BlobsInPack(std::string_view pack) override;
  absl::StatusOr<std::vector<BlobRow>> ListBlobs(RowId namespace_id, RowId after,
                                                 int limit) override;
  absl::StatusOr<bool> BlobInUse(RowId blob) override;
  absl::StatusOr<std::vector<BlobRow>> UnusedBlobs(RowId after, int limit) override;
  absl::StatusOr<std::vector<BlobRow>> ListAllBlobs(RowId after, int limit) override;
  absl::StatusOr<std::vector<ResultUse>> ListResultUses(RowId after, int limit) override;
  absl::StatusOr<std::vector<AliasRow>> AliasesOf(RowId job) override;
  absl::StatusOr<uint64_t> UsedBytes() override;
  absl::StatusOr<std::vector<RowId>> BlobsHolding(RowId inner) override;
  absl::StatusOr<std::vector<RowId>> BlobsHeldBy(RowId blob) override;
  absl::StatusOr<PackUse> UseOfPacks(std::string_view prefix) override;
  absl::StatusOr<std::vector<PackUse>> PackUses() override;
  absl::StatusOr<std::vector<RowId>> JobsUsing(RowId namespace_id, RowId blob, BlobUse use,
                                               int limit) override;
  absl::StatusOr<std::vector<RowId>> BlobsUsed(RowId job, BlobUse use) override;
  absl::StatusOr<std::vector<RowId>> AllJobsUsing(RowId blob, BlobUse use) override;
  absl::StatusOr<std::vector<EvidenceRow>> Evidence(RowId job) override;
  absl::StatusOr<std::vector<RowId>> JobsWithEvidence(RowId after, int limit) override;
  absl::StatusOr<std::vector<PackRow>> AllPacks(PackState state) override;
  absl::StatusOr<std::optional<PackRow>> FindPack(std::string_view name) override;
  absl::StatusOr<DatabaseCounts> Counts() override;

 protected:
  const MemoryState& state() const { return *state_; }

 private:
  const MemoryState* state_;
};

extern template class MemoryLookups<JobReader>;
extern template class MemoryLookups<JobTransaction>;

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_MEMORY_STATE_H_
