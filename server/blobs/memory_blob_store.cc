#include "server/blobs/memory_blob_store.h"

#include <condition_variable>
#include <map>
#include <mutex>
#include <utility>

#include "common/status.h"
#include "server/blobs/checksum.h"

namespace tiffin::server {
namespace {

// A pack is a map from place to bytes. Small blobs share the open one.
struct Pack {
  std::map<uint64_t, std::shared_ptr<const std::string>> blobs;
  int pins = 0;
  bool open = false;
};

class MemoryBlobStore : public BlobStore {
 public:
  absl::Status Start(PackJournal* journal, std::span<const KnownPack> packs) override {
    journal_ = journal;
    if (packs.empty()) return absl::OkStatus();
    return absl::DataLossError("packs of an earlier run, which was kept in memory only");
  }

  absl::StatusOr<std::unique_ptr<BlobWriter>> Create(std::string_view, const Shape&,
                                                     uint64_t size) override;

  absl::StatusOr<std::vector<StoredBlob>> Store(std::span<const BlobBytes> blobs) override {
    std::vector<StoredBlob> out;
    for (const BlobBytes& blob : blobs) {
      TIFFIN_ASSIGN_OR_RETURN(StoredBlob stored, Add(std::string(blob.bytes)));
      out.push_back(std::move(stored));
    }
    return out;
  }

  absl::StatusOr<BlobSlice> Read(const StoredBlob& blob, uint64_t size, uint64_t offset,
                                 uint64_t length) override {
    std::lock_guard lock(mutex_);
    const auto pack = packs_.find(std::string(PackOf(blob.location)));
    if (pack == packs_.end()) return absl::NotFoundError(StrCat("no pack of ", blob.location));
    const auto bytes = pack->second->blobs.find(Place(blob.location));
    if (bytes == pack->second->blobs.end() || bytes->second->size() != size ||
        offset > size || length > size - offset) {
      return absl::DataLossError(StrCat(blob.location, ": no such bytes"));
    }
    return BlobSlice{std::string_view(*bytes->second).substr(offset, length), bytes->second};
  }

  void Discard(const StoredBlob& blob) override {
    std::lock_guard lock(mutex_);
    const auto pack = packs_.find(std::string(PackOf(blob.location)));
    if (pack != packs_.end()) pack->second->blobs.erase(Place(blob.location));
  }

  std::vector<std::string> PacksToSeal(bool all) override {
    std::unique_lock lock(mutex_);
    std::vector<std::string> out;
    if (!all || current_.empty()) return out;
    const std::string name = std::exchange(current_, "");
    unpinned_.wait(lock, [&] { return packs_.at(name)->pins == 0; });
    out.push_back(name);
    return out;
  }

  absl::StatusOr<std::vector<StoredBlob>> Seal(std::span<const BlobToMove> blobs) override {
    std::unique_lock lock(mutex_);
    const std::string name = StrCat("m", ++last_);
    lock.unlock();
    TIFFIN_RETURN_IF_ERROR(journal_->Announce(name, false));
    lock.lock();
    auto pack = std::make_shared<Pack>();
    std::vector<StoredBlob> out;
    for (const BlobToMove& blob : blobs) {
      const auto from = packs_.find(std::string(PackOf(blob.location)));
      if (from == packs_.end()) return absl::NotFoundError(StrCat("no pack of ", blob.location));
      const auto bytes = from->second->blobs.find(Place(blob.location));
      if (bytes == from->second->blobs.end()) {
        out.emplace_back();
        continue;
      }
      const uint64_t place = ++last_;
      pack->blobs[place] = bytes->second;
      out.push_back({StrCat(name, ":", place), blob.checksums, nullptr});
    }
    packs_[name] = std::move(pack);
    return out;
  }

  void Drop(std::string_view pack) override {
    std::lock_guard lock(mutex_);
    packs_.erase(std::string(pack));
  }

  BlobStoreStats Stats() const override {
    std::lock_guard lock(mutex_);
    BlobStoreStats stats{packs_.size(), 0};
    for (const auto& [name, pack] : packs_) {
      if (!pack->open) continue;
      for (const auto& [place, bytes] : pack->blobs) stats.open_bytes += bytes->size();
    }
    return stats;
  }

  absl::StatusOr<StoredBlob> Add(std::string bytes) {
    std::unique_lock lock(mutex_);
    if (current_.empty()) {
      const std::string name = StrCat("m", ++last_);
      lock.unlock();
      TIFFIN_RETURN_IF_ERROR(journal_->Announce(name, true));
      lock.lock();
      auto pack = std::make_shared<Pack>();
      pack->open = true;
      packs_[name] = std::move(pack);
      current_ = name;
    }
    const std::shared_ptr<Pack> pack = packs_.at(current_);
    const uint64_t place = ++last_;
    StoredBlob stored{StrCat(current_, ":", place), Checksums(bytes), nullptr};
    pack->blobs[place] = std::make_shared<const std::string>(std::move(bytes));
    ++pack->pins;
    stored.pin = std::shared_ptr<const void>(pack.get(), [this, pack](const void*) {
      std::lock_guard guard(mutex_);
      --pack->pins;
      unpinned_.notify_all();
    });
    return stored;
  }

 private:
  static uint64_t Place(std::string_view location) {
    return std::stoull(std::string(location.substr(location.find(':') + 1)));
  }

  PackJournal* journal_ = nullptr;
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable unpinned_;
  std::map<std::string, std::shared_ptr<Pack>> packs_;
  std::string current_;
  uint64_t last_ = 0;
};

class MemoryWriter : public BlobWriter {
 public:
  MemoryWriter(MemoryBlobStore* store, uint64_t size) : store_(store), size_(size) {}
  absl::Status Append(std::string_view bytes) override {
    if (bytes.size() > size_ - bytes_.size()) {
      return absl::InvalidArgumentError(StrCat("more than ", size_, " bytes"));
    }
    bytes_ += bytes;
    return absl::OkStatus();
  }
  absl::StatusOr<StoredBlob> Commit(const Digest&) override {
    if (bytes_.size() != size_) {
      return absl::InvalidArgumentError(StrCat(bytes_.size(), " of ", size_, " bytes"));
    }
    return store_->Add(std::move(bytes_));
  }

 private:
  MemoryBlobStore* const store_;
  const uint64_t size_;
  std::string bytes_;
};

absl::StatusOr<std::unique_ptr<BlobWriter>> MemoryBlobStore::Create(std::string_view, const Shape&,
                                                                    uint64_t size) {
  return std::make_unique<MemoryWriter>(this, size);
}

}  // namespace

std::unique_ptr<BlobStore> MakeMemoryBlobStore() { return std::make_unique<MemoryBlobStore>(); }

}  // namespace tiffin::server
