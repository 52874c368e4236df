#include "server/blobs/hdf5_blob_store.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <utility>

#include "common/status.h"
#include "server/blobs/checksum.h"
#include "server/blobs/hdf5_packs.h"
#include "server/blobs/open_packs.h"
#include "server/blobs/pack_folders.h"
#include "server/blobs/pack_name.h"

namespace tiffin::server {
namespace {

constexpr uint64_t kSyncAhead = uint64_t{8} << 20;
constexpr std::string_view kUnnamed = "unnamed";  // a dataset until its key is known

class Hdf5BlobStore : public BlobStore {
 public:
  explicit Hdf5BlobStore(const Hdf5BlobStoreOptions& options)
      : folders_(options.data, options.max_open_files), open_(&folders_, options.open_pack_bytes) {}

  absl::Status MakeFolders() { return folders_.Make(); }

  absl::Status Start(PackJournal* journal, std::span<const KnownPack> packs) override {
    journal_ = journal;
    std::vector<std::string> left_open;
    for (const KnownPack& pack : packs) {
      if (pack.pending) TIFFIN_RETURN_IF_ERROR(folders_.Remove(pack.name));
      if (pack.open) left_open.push_back(pack.name);
    }
    open_.Start(journal, std::move(left_open));
    return folders_.Sweep();
  }

  absl::StatusOr<std::unique_ptr<BlobWriter>> Create(std::string_view dtype, const Shape& shape,
                                                     uint64_t size) override;

  absl::StatusOr<std::vector<StoredBlob>> Store(std::span<const BlobBytes> blobs) override {
    return open_.Append(blobs);
  }

  absl::StatusOr<BlobSlice> Read(const StoredBlob& blob, uint64_t size, uint64_t offset,
                                 uint64_t length) override;
  void Discard(const StoredBlob& blob) override {
    const absl::StatusOr<Place> place = Place::FromText(blob.location);
    if (place.ok() && !place->open) Drop(place->pack);
  }
  std::vector<std::string> PacksToSeal(bool all) override { return open_.ToSeal(all); }
  absl::StatusOr<std::vector<StoredBlob>> Seal(std::span<const BlobToMove> blobs) override;
  void Drop(std::string_view pack) override {
    open_.Forget(pack);
    const absl::Status status = folders_.Remove(pack);
    if (!status.ok()) spdlog::warn("event=drop pack={} error=\"{}\"", pack, status.ToString());
  }
  BlobStoreStats Stats() const override { return {sealed_, open_.bytes()}; }

  // Syncs a finished file in tmp/ and moves it to its place.
  absl::Status Publish(const std::string& pack, const PackFile& file) {
    TIFFIN_RETURN_IF_ERROR(file.Sync());
    TIFFIN_RETURN_IF_ERROR(journal_->Announce(pack, false));
    TIFFIN_RETURN_IF_ERROR(folders_.Publish(pack, false));
    ++sealed_;
    return absl::OkStatus();
  }
  PackFolders& folders() { return folders_; }

 private:
  PackFolders folders_;
  OpenPacks open_;
  PackJournal* journal_ = nullptr;
  std::atomic<uint64_t> sealed_{0};
};

// A blob on its way into a pack of its own.
class LargeWriter : public BlobWriter {
 public:
  LargeWriter(Hdf5BlobStore* store, uint64_t size) : store_(store), size_(size) {}

  ~LargeWriter() override {
    file_.reset();
    // What cannot be removed now is swept at the next start.
    if (!published_) (void)RemoveFile(store_->folders().Temporary(pack_));
  }

  absl::Status Begin(std::string_view dtype, const Shape& shape) {
    const DatasetSpec spec{std::string(kUnnamed), std::string(dtype), shape};
    const auto path = store_->folders().Temporary(pack_);
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<uint64_t> offsets, MakeHdf5File(path, {&spec, 1}));
    base_ = offsets[0];
    TIFFIN_ASSIGN_OR_RETURN(file_, PackFile::Open(path, true));
    return file_->Reserve(base_ + size_);
  }

  absl::Status Append(std::string_view bytes) override {
    if (bytes.size() > size_ - written_) {
      return absl::InvalidArgumentError(StrCat("more than the ", size_, " bytes announced"));
    }
    TIFFIN_RETURN_IF_ERROR(file_->Write(bytes, base_ + written_));
    checksums_.Update(bytes);
    written_ += bytes.size();
    if (written_ - started_ >= kSyncAhead) {
      file_->StartSync(base_ + started_, written_ - started_);
      started_ = written_;
    }
    return absl::OkStatus();
  }

  absl::StatusOr<StoredBlob> Commit(const Digest& key) override {
    if (written_ != size_) {
      return absl::InvalidArgumentError(StrCat(written_, " of ", size_, " bytes were written"));
    }
    TIFFIN_RETURN_IF_ERROR(
        RenameDataset(store_->folders().Temporary(pack_), kUnnamed, key.ToText()));
    TIFFIN_RETURN_IF_ERROR(store_->Publish(pack_, *file_));
    published_ = true;
    return StoredBlob{Place{pack_, false, base_}.ToText(), checksums_.Finish(), nullptr};
  }

 private:
  Hdf5BlobStore* const store_;
  const uint64_t size_;
  const std::string pack_ = RandomPackName();
  std::unique_ptr<PackFile> file_;
  ChecksumStream checksums_;
  uint64_t base_ = 0, written_ = 0, started_ = 0;
  bool published_ = false;
};

// A small blob, held until its key is known.
class SmallWriter : public BlobWriter {
 public:
  SmallWriter(Hdf5BlobStore* store, std::string_view dtype, const Shape& shape, uint64_t size)
      : store_(store), name_{{}, std::string(dtype), shape}, size_(size) {}

  absl::Status Append(std::string_view bytes) override {
    if (bytes.size() > size_ - bytes_.size()) {
      return absl::InvalidArgumentError(StrCat("more than the ", size_, " bytes announced"));
    }
    bytes_ += bytes;
    return absl::OkStatus();
  }
  absl::StatusOr<StoredBlob> Commit(const Digest& key) override {
    if (bytes_.size() != size_) {
      return absl::InvalidArgumentError(StrCat(bytes_.size(), " of ", size_, " bytes were written"));
    }
    name_.key = key;
    const BlobBytes blob{name_, bytes_};
    TIFFIN_ASSIGN_OR_RETURN(std::vector<StoredBlob> stored, store_->Store({&blob, 1}));
    return std::move(stored[0]);
  }

 private:
  Hdf5BlobStore* const store_;
  BlobName name_;
  const uint64_t size_;
  std::string bytes_;
};

absl::StatusOr<std::unique_ptr<BlobWriter>> Hdf5BlobStore::Create(std::string_view dtype,
                                                                  const Shape& shape,
                                                                  uint64_t size) {
  if (size < kSmallBlob) return std::make_unique<SmallWriter>(this, dtype, shape, size);
  auto writer = std::make_unique<LargeWriter>(this, size);
  TIFFIN_RETURN_IF_ERROR(writer->Begin(dtype, shape));
  return writer;
}

absl::StatusOr<BlobSlice> Hdf5BlobStore::Read(const StoredBlob& blob, uint64_t size,
                                              uint64_t offset, uint64_t length) {
  TIFFIN_ASSIGN_OR_RETURN(const Place place, Place::FromText(blob.location));
  if (offset > size || length > size - offset) {
    return absl::OutOfRangeError(StrCat("bytes ", offset, " to ", offset + length, " of ", size));
  }
  TIFFIN_ASSIGN_OR_RETURN(const auto file, folders_.Reader(place));
  if (length == 0) return BlobSlice{};
  const uint64_t first = offset / kChecksumBlock;
  const uint64_t last = (offset + length - 1) / kChecksumBlock;
  const uint64_t from = first * kChecksumBlock;
  const uint64_t until = std::min(size, (last + 1) * kChecksumBlock);
  auto bytes = std::make_shared<std::string>(until - from, '\0');
  absl::Status read = file->Read(bytes->data(), bytes->size(), place.offset + from);
  if (!read.ok()) return Annotate(read, StrCat("pack ", place.pack));
  const std::string found = Checksums(*bytes);
  for (uint64_t block = first; block <= last; ++block) {
    const std::string_view stored = std::string_view(blob.checksums)
        .substr(std::min<size_t>(block * kChecksumBytes, blob.checksums.size()), kChecksumBytes);
    if (stored != std::string_view(found).substr((block - first) * kChecksumBytes, kChecksumBytes)) {
      return absl::DataLossError(
          StrCat("pack ", place.pack, ": block ", block, " of the blob at ", place.offset,
                 " does not match its checksum"));
    }
  }
  return BlobSlice{std::string_view(*bytes).substr(offset - from, length), bytes};
}

absl::StatusOr<std::vector<StoredBlob>> Hdf5BlobStore::Seal(std::span<const BlobToMove> blobs) {
  std::vector<StoredBlob> out(blobs.size());
  std::vector<size_t> good;
  std::vector<DatasetSpec> specs;
  std::map<std::string, int> names;
  for (size_t i = 0; i < blobs.size(); ++i) {
    const BlobToMove& blob = blobs[i];
    const auto bytes = Read({blob.location, blob.checksums, nullptr}, blob.size, 0, blob.size);
    if (absl::IsDataLoss(bytes.status())) {
      spdlog::error("event=damaged blob=\"{}\" error=\"{}\"", blob.name.ToText(),
                    bytes.status().ToString());
      continue;
    }
    if (!bytes.ok()) return bytes.status();
    std::string name = blob.name.key.ToText();
    // One key can name blobs of several dtypes and shapes.
    if (const int n = ++names[name]; n > 1) name += StrCat("#", n);
    specs.push_back({name, blob.name.dtype, blob.name.shape});
    good.push_back(i);
  }
  if (good.empty()) return out;
  const std::string pack = RandomPackName();
  const auto path = folders_.Temporary(pack);
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<uint64_t> offsets, MakeHdf5File(path, specs));
  TIFFIN_ASSIGN_OR_RETURN(const std::unique_ptr<PackFile> file, PackFile::Open(path, true));
  for (size_t n = 0; n < good.size(); ++n) {
    const BlobToMove& blob = blobs[good[n]];
    TIFFIN_ASSIGN_OR_RETURN(
        const BlobSlice bytes,
        Read({blob.location, blob.checksums, nullptr}, blob.size, 0, blob.size));
    TIFFIN_RETURN_IF_ERROR(file->Write(bytes.bytes, offsets[n]));
    out[good[n]] = {Place{pack, false, offsets[n]}.ToText(), blob.checksums, nullptr};
  }
  TIFFIN_RETURN_IF_ERROR(Publish(pack, *file));
  return out;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlobStore>> OpenHdf5BlobStore(const Hdf5BlobStoreOptions& options) {
  auto store = std::make_unique<Hdf5BlobStore>(options);
  TIFFIN_RETURN_IF_ERROR(store->MakeFolders());
  return store;
}

}  // namespace tiffin::server
