#include "server/store/result_cache.h"

#include <cstring>
#include <utility>

#include "common/strings.h"

namespace tiffin::server {
namespace {

// With what the maps and lists take.
size_t BytesOf(const FoundResult& found) {
  return found.result.row.record.size() + found.result.row.log.size() +
         found.result.session.size() + found.result.host.size() + 512;
}

}  // namespace

RowId ResultCache::FindNamespace(std::string_view name) {
  std::shared_lock lock(names_mutex_);
  const auto it = names_.find(ToAbsl(name));
  return it == names_.end() ? 0 : it->second;
}

void ResultCache::RememberNamespace(std::string_view name, RowId id) {
  std::unique_lock lock(names_mutex_);
  if (id == 0) return;
  if (names_.size() >= kMostNames) names_.clear();
  names_.emplace(std::string(name), id);
}

std::shared_ptr<const FoundResult> ResultCache::Find(RowId namespace_id, const Digest& key) {
  Shard& shard = ShardOf(key);
  std::lock_guard lock(shard.mutex);
  const auto it = shard.places.find(Key(namespace_id, key));
  if (it == shard.places.end()) return nullptr;
  shard.entries.splice(shard.entries.begin(), shard.entries, it->second);
  return it->second->found;
}

bool ResultCache::Seen(Shard& shard, const Digest& key) {
  uint32_t place, mark;
  std::memcpy(&place, key.bytes.data() + 4, sizeof place);
  std::memcpy(&mark, key.bytes.data() + 8, sizeof mark);
  return std::exchange(shard.seen[place % shard.seen.size()], mark) == mark;
}

void ResultCache::Forget(Shard& shard, const Key& key) {
  const auto it = shard.places.find(key);
  if (it == shard.places.end()) return;
  shard.bytes -= it->second->bytes;
  shard.entries.erase(it->second);
  shard.places.erase(it);
}

void ResultCache::Add(RowId namespace_id, std::shared_ptr<const FoundResult> found,
                      uint64_t ticket) {
  const size_t limit = max_bytes_ / kShards;
  const size_t bytes = BytesOf(*found);
  if (bytes > limit / 4) return;  // one large result would drive out many small ones
  Shard& shard = ShardOf(found->key);
  std::lock_guard lock(shard.mutex);
  // Under the lock that Drop takes after it counted: either it is seen here, or Drop finds the
  // entry.
  if (drops_.load() != ticket) return;
  const Key key(namespace_id, found->key);
  Forget(shard, key);
  if (shard.bytes + bytes > limit && !Seen(shard, key.second)) return;
  shard.entries.push_front({key, std::move(found), bytes});
  shard.places.emplace(key, shard.entries.begin());
  shard.bytes += bytes;
  while (shard.bytes > limit) Forget(shard, Key(shard.entries.back().key));
}

void ResultCache::Drop(RowId namespace_id, const Digest& key) {
  ++drops_;
  Shard& shard = ShardOf(key);
  std::lock_guard lock(shard.mutex);
  Forget(shard, Key(namespace_id, key));
}

size_t ResultCache::bytes() {
  size_t sum = 0;
  for (Shard& shard : shards_) {
    std::lock_guard lock(shard.mutex);
    sum += shard.bytes;
  }
  return sum;
}

}  // namespace tiffin::server
