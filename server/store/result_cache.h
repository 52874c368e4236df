// Hot results in memory, so that reading them asks no database.
#ifndef TIFFIN_SERVER_STORE_RESULT_CACHE_H_
#define TIFFIN_SERVER_STORE_RESULT_CACHE_H_

#include <array>
#include <atomic>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <string_view>

#include "absl/container/flat_hash_map.h"
#include "server/store/answers.h"

namespace tiffin::server {

// What a read of a done job found. Shared, never changed.
struct FoundResult {
  Digest key;     // of the job asked for
  RowId job = 0;  // likewise
  StoredResult result;
};

// The results read last, up to a number of bytes; once that is reached, those that were read twice
// lately: a pass over many does not drive out what is read all the time. Never older than what is
// committed: a result enters only if nothing was dropped since its reader began, and the store
// drops what a change touches after COMMIT, before anybody hears of the change. Threads: all
// methods may be called from any thread; none blocks on more than another's look-up.
class ResultCache {
 public:
  explicit ResultCache(size_t max_bytes) : max_bytes_(max_bytes) {}

  // Namespaces are known by name to callers, by id to rows; they are never deleted.
  RowId FindNamespace(std::string_view name);  // 0: not remembered
  void RememberNamespace(std::string_view name, RowId id);

  std::shared_ptr<const FoundResult> Find(RowId namespace_id, const Digest& key);

  // To be taken before the snapshot is.
  uint64_t Ticket() const { return drops_.load(); }
  void Add(RowId namespace_id, std::shared_ptr<const FoundResult> found, uint64_t ticket);
  void Drop(RowId namespace_id, const Digest& key);

  size_t bytes();

 private:
  using Key = std::pair<RowId, Digest>;
  struct Entry {
    Key key;
    std::shared_ptr<const FoundResult> found;
    size_t bytes = 0;
  };
  // A shard each for a part of the keys, so that readers seldom meet.
  struct Shard {
    std::mutex mutex;          // guards all below
    std::list<Entry> entries;  // the last read first
    absl::flat_hash_map<Key, std::list<Entry>::iterator> places;
    size_t bytes = 0;
    std::array<uint32_t, 4096> seen{};  // marks of keys that were refused, by a part of the key
  };
  static constexpr size_t kShards = 16;
  static constexpr size_t kMostNames = 10'000;
  Shard& ShardOf(const Digest& key) { return shards_[key.bytes[0] % kShards]; }
  // Whether it was asked for before, not long ago.
  static bool Seen(Shard& shard, const Digest& key);
  static void Forget(Shard& shard, const Key& key);

  const size_t max_bytes_;
  std::atomic<uint64_t> drops_{0};
  std::array<Shard, kShards> shards_;
  std::shared_mutex names_mutex_;
  absl::flat_hash_map<std::string, RowId> names_;  // guarded by names_mutex_
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_RESULT_CACHE_H_
