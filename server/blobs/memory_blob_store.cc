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
  uint64_t bytes_ever = 0;  // of all blobs that were put here, as a file would keep them
};

absl::Status Incomplete(size_t bytes, uint64_t size) {
  return absl::InvalidArgumentError(StrCat(bytes, " of ", size, " bytes were written"));
}

absl::Status AppendWithin(uint64_t size, std::span<const std::string_view> parts,
                          std::string* bytes) {
  size_t more = 0;
  for (const std::string_view part : parts) more += part.size();
  if (more > size - bytes->size()) {
    return absl::InvalidArgumentError(StrCat("more than the ", size, " bytes announced"));
  }
  for (const std::string_view part : parts) *bytes += part;
  return absl::OkStatus();
}

class MemoryReader : public BlobReader {
 public:
  explicit MemoryReader(std::shared_ptr<const std::string> bytes) : bytes_(std::move(bytes)) {}
  bool Checked(uint64_t, uint64_t) const override { return true; }
  absl::Status Check(uint64_t, uint64_t) override { return absl::OkStatus(); }
  absl::StatusOr<BlobSlice> Slice(uint64_t offset, uint64_t length) const override {
    return BlobSlice{std::string_view(*bytes_).substr(offset, length), bytes_};
  }
  absl::Status Gather(const Slab& slab, uint64_t offset, uint64_t length, char* to) const override {
    slab.ForRuns(offset, length, [&](uint64_t at, uint64_t n) {
      bytes_->copy(to, n, at);
      to += n;
    });
    return absl::OkStatus();
  }
  std::optional<FilePlace> File() const override { return std::nullopt; }

 private:
  const std::shared_ptr<const std::string> bytes_;
};

// An upload that can be resumed. The newest claim may write.
struct MemoryUpload {
  uint64_t claim = 0;
  bool live = false;
  std::string bytes;
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

  absl::StatusOr<std::unique_ptr<BlobWriter>> Resume(std::string_view owner, const BlobName& name,
                                                     uint64_t size, uint64_t offset,
                                                     const TakeBytes& before) override;
  uint64_t Received(std::string_view owner, const BlobName& name) override {
    std::lock_guard lock(mutex_);
    const auto it = uploads_.find({std::string(owner), name});
    return it == uploads_.end() ? 0 : it->second->bytes.size();
  }
  bool BeingWritten(std::string_view owner, const BlobName& name) override {
    std::lock_guard lock(mutex_);
    const auto it = uploads_.find({std::string(owner), name});
    return it != uploads_.end() && it->second->live;
  }

  absl::StatusOr<std::shared_ptr<BlobReader>> Open(const StoredBlob& blob, uint64_t size) override {
    std::lock_guard lock(mutex_);
    const auto pack = packs_.find(std::string(PackOf(blob.location)));
    if (pack == packs_.end()) return absl::NotFoundError(StrCat("no pack of ", blob.location));
    const auto bytes = pack->second->blobs.find(Place(blob.location));
    if (bytes == pack->second->blobs.end() || bytes->second->size() != size) {
      return absl::DataLossError(StrCat(blob.location, ": no such bytes"));
    }
    return std::make_shared<MemoryReader>(bytes->second);
  }

  absl::StatusOr<std::vector<DamagedRange>> Verify(
      const StoredBlob& blob, uint64_t size,
      const std::function<absl::Status(std::string_view)>& on_block) override {
    TIFFIN_ASSIGN_OR_RETURN(const std::shared_ptr<BlobReader> reader, Open(blob, size));
    TIFFIN_ASSIGN_OR_RETURN(const BlobSlice all, reader->Slice(0, size));
    for (uint64_t at = 0; at < size; at += kChecksumBlock) {
      TIFFIN_RETURN_IF_ERROR(on_block(all.bytes.substr(at, kChecksumBlock)));
    }
    std::vector<DamagedRange> damaged;
    if (Checksums(all.bytes) != blob.checksums) {
      damaged.push_back({0, size, "differ from their checksum"});
    }
    return damaged;
  }
  std::optional<FilePlace> Locate(std::string_view) override { return std::nullopt; }

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
      pack->bytes_ever += bytes->second->size();
      out.push_back({StrCat(name, ":", place), blob.checksums, nullptr});
    }
    packs_[name] = std::move(pack);
    return out;
  }

  void SetAside(std::string_view) override {}
  absl::Status Drop(std::string_view pack) override {
    std::lock_guard lock(mutex_);
    packs_.erase(std::string(pack));
    return absl::OkStatus();
  }

  absl::StatusOr<uint64_t> PackBytes(std::string_view pack) override {
    std::lock_guard lock(mutex_);
    const auto it = packs_.find(std::string(pack));
    if (it == packs_.end()) return absl::NotFoundError(StrCat("no pack ", pack));
    return it->second->bytes_ever;
  }
  absl::Status CopyPack(std::string_view, const std::filesystem::path&,
                        const std::function<absl::Status(uint64_t)>&) override {
    return absl::UnimplementedError("the bytes are in memory only");
  }
  void ExpireUploads() override {}

  BlobStoreStats Stats() const override {
    std::lock_guard lock(mutex_);
    BlobStoreStats stats{packs_.size(), 0, 0};
    for (const auto& [name, upload] : uploads_) stats.upload_bytes += upload->bytes.size();
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
    pack->bytes_ever += bytes.size();
    pack->blobs[place] = std::make_shared<const std::string>(std::move(bytes));
    ++pack->pins;
    stored.pin = std::shared_ptr<const void>(pack.get(), [this, pack](const void*) {
      std::lock_guard guard(mutex_);
      --pack->pins;
      unpinned_.notify_all();
    });
    return stored;
  }

  // What writers of uploads do, under the store's mutex.
  absl::Status AppendTo(MemoryUpload& upload, uint64_t claim, uint64_t size,
                        std::span<const std::string_view> parts) {
    std::lock_guard lock(mutex_);
    if (upload.claim != claim) return absl::AbortedError("another call goes on with this upload");
    return AppendWithin(size, parts, &upload.bytes);
  }
  absl::StatusOr<std::string> TakeUpload(const std::shared_ptr<MemoryUpload>& upload,
                                         uint64_t claim) {
    std::lock_guard lock(mutex_);
    if (upload->claim != claim) return absl::AbortedError("another call goes on with this upload");
    std::erase_if(uploads_, [&](const auto& entry) { return entry.second == upload; });
    return std::move(upload->bytes);
  }
  void LetGo(MemoryUpload& upload, uint64_t claim) {
    std::lock_guard lock(mutex_);
    if (upload.claim == claim) upload.live = false;
  }

 private:
  static uint64_t Place(std::string_view location) {
    return std::stoull(std::string(location.substr(location.find(':') + 1)));
  }

  PackJournal* journal_ = nullptr;
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable unpinned_;
  std::map<std::string, std::shared_ptr<Pack>> packs_;
  std::map<std::pair<std::string, BlobName>, std::shared_ptr<MemoryUpload>> uploads_;
  std::string current_;
  uint64_t last_ = 0;
};

class MemoryWriter : public BlobWriter {
 public:
  MemoryWriter(MemoryBlobStore* store, uint64_t size) : store_(store), size_(size) {}
  absl::Status Append(std::span<const std::string_view> parts) override {
    return AppendWithin(size_, parts, &bytes_);
  }
  absl::StatusOr<StoredBlob> Commit(const Digest&) override {
    if (bytes_.size() != size_) return Incomplete(bytes_.size(), size_);
    return store_->Add(std::move(bytes_));
  }

 private:
  MemoryBlobStore* const store_;
  const uint64_t size_;
  std::string bytes_;
};

class ResumableMemoryWriter : public BlobWriter {
 public:
  ResumableMemoryWriter(MemoryBlobStore* store, std::shared_ptr<MemoryUpload> upload, uint64_t size)
      : store_(store), upload_(std::move(upload)), claim_(upload_->claim), size_(size) {}
  ~ResumableMemoryWriter() override { store_->LetGo(*upload_, claim_); }
  absl::Status Append(std::span<const std::string_view> parts) override {
    return store_->AppendTo(*upload_, claim_, size_, parts);
  }
  absl::StatusOr<StoredBlob> Commit(const Digest&) override {
    TIFFIN_ASSIGN_OR_RETURN(std::string bytes, store_->TakeUpload(upload_, claim_));
    if (bytes.size() != size_) return Incomplete(bytes.size(), size_);
    return store_->Add(std::move(bytes));
  }
  void Refuse() override { (void)store_->TakeUpload(upload_, claim_); }  // another's is not ours

 private:
  MemoryBlobStore* const store_;
  const std::shared_ptr<MemoryUpload> upload_;
  const uint64_t claim_, size_;
};

absl::StatusOr<std::unique_ptr<BlobWriter>> MemoryBlobStore::Create(std::string_view, const Shape&,
                                                                    uint64_t size) {
  return std::make_unique<MemoryWriter>(this, size);
}

absl::StatusOr<std::unique_ptr<BlobWriter>> MemoryBlobStore::Resume(std::string_view owner,
                                                                    const BlobName& name,
                                                                    uint64_t size, uint64_t offset,
                                                                    const TakeBytes& before) {
  std::lock_guard lock(mutex_);
  std::shared_ptr<MemoryUpload>& upload = uploads_[{std::string(owner), name}];
  if (!upload) upload = std::make_shared<MemoryUpload>();
  if (upload->live && offset == 0) return std::make_unique<MemoryWriter>(this, size);
  if (offset > upload->bytes.size()) {
    return absl::FailedPreconditionError(StrCat("offset: ", offset, ", but only the first ",
                                                upload->bytes.size(), " bytes have come"));
  }
  ++upload->claim;
  upload->live = false;
  TIFFIN_RETURN_IF_ERROR(before(std::string_view(upload->bytes).substr(0, offset)));
  upload->bytes.resize(offset);
  upload->live = true;
  return std::make_unique<ResumableMemoryWriter>(this, upload, size);
}

}  // namespace

std::unique_ptr<BlobStore> MakeMemoryBlobStore() { return std::make_unique<MemoryBlobStore>(); }

}  // namespace tiffin::server
