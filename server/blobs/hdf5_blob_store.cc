#include "server/blobs/hdf5_blob_store.h"

#include <spdlog/spdlog.h>

#include <atomic>
#include <map>
#include <utility>

#include "common/status.h"
#include "server/blobs/copy_pack.h"
#include "server/blobs/hdf5_packs.h"
#include "server/blobs/open_packs.h"
#include "server/blobs/pack_folders.h"
#include "server/blobs/pack_name.h"
#include "server/blobs/streamed_bytes.h"
#include "server/blobs/upload_files.h"
#include "server/blobs/verify_blob.h"

namespace tiffin::server {
namespace {

constexpr std::string_view kUnnamed = "unnamed";  // a dataset until its key is known

class Hdf5BlobStore : public BlobStore {
 public:
  explicit Hdf5BlobStore(const Hdf5BlobStoreOptions& options)
      : folders_(options.data, options.max_mapped),
        open_(&folders_, options.open_pack_bytes),
        uploads_(folders_.Uploads(), options.uploads) {}

  absl::Status MakeFolders() { return folders_.Make(); }

  absl::Status Start(PackJournal* journal, std::span<const KnownPack> packs) override {
    journal_ = journal;
    std::vector<std::string> left_open;
    for (const KnownPack& pack : packs) {
      if (pack.pending) TIFFIN_RETURN_IF_ERROR(folders_.Remove(pack.name));
      if (pack.open) left_open.push_back(pack.name);
    }
    open_.Start(journal, std::move(left_open));
    TIFFIN_RETURN_IF_ERROR(uploads_.Sweep());
    return folders_.Sweep();
  }

  absl::StatusOr<std::unique_ptr<BlobWriter>> Create(std::string_view dtype, const Shape& shape,
                                                     uint64_t size) override;

  absl::StatusOr<std::vector<StoredBlob>> Store(std::span<const BlobBytes> blobs) override {
    return open_.Append(blobs);
  }

  absl::StatusOr<std::unique_ptr<BlobWriter>> Resume(std::string_view owner, const BlobName& name,
                                                     uint64_t size, uint64_t offset,
                                                     const TakeBytes& before) override;
  uint64_t Received(std::string_view owner, const BlobName& name) override {
    return uploads_.Received(owner, name);
  }
  bool BeingWritten(std::string_view owner, const BlobName& name) override {
    return uploads_.BeingWritten(owner, name);
  }
  absl::StatusOr<std::shared_ptr<BlobReader>> Open(const StoredBlob& blob, uint64_t size) override;
  absl::StatusOr<std::vector<DamagedRange>> Verify(
      const StoredBlob& blob, uint64_t size,
      const std::function<absl::Status(std::string_view)>& on_block) override {
    TIFFIN_ASSIGN_OR_RETURN(const Place place, Place::FromText(blob.location));
    TIFFIN_ASSIGN_OR_RETURN(const std::unique_ptr<PackFile> file,
                            PackFile::Open(folders_.PathOf(place), false));
    return VerifyBlobIn(*file, place.offset, size, blob.checksums, on_block);
  }
  std::optional<FilePlace> Locate(std::string_view location) override {
    const absl::StatusOr<Place> place = Place::FromText(location);
    if (!place.ok()) return std::nullopt;
    return FilePlace{folders_.PathOf(*place).lexically_relative(folders_.data()).string(),
                     place->offset, !place->open};
  }
  void Discard(const StoredBlob& blob) override {
    const absl::StatusOr<Place> place = Place::FromText(blob.location);
    if (place.ok() && !place->open) Drop(place->pack).IgnoreError();  // logged
  }
  std::vector<std::string> PacksToSeal(bool all) override { return open_.ToSeal(all); }
  absl::StatusOr<std::vector<StoredBlob>> Seal(std::span<const BlobToMove> blobs) override;
  void SetAside(std::string_view pack) override { open_.Forget(pack); }
  absl::Status Drop(std::string_view pack) override {
    open_.Forget(pack);
    const absl::Status status = folders_.Remove(pack);
    if (!status.ok()) spdlog::warn("event=drop pack={} error=\"{}\"", pack, status.ToString());
    return status;
  }
  absl::StatusOr<uint64_t> PackBytes(std::string_view pack) override {
    return folders_.BytesOf(pack);
  }
  absl::Status CopyPack(std::string_view pack, const std::filesystem::path& data,
                        const std::function<absl::Status(uint64_t)>& progress) override;
  void ExpireUploads() override { uploads_.Expire(); }
  BlobStoreStats Stats() const override { return {sealed_, open_.bytes(), uploads_.bytes()}; }

  // Moves a finished, synced file to its place.
  absl::Status Publish(const std::filesystem::path& file, const std::string& pack) {
    TIFFIN_RETURN_IF_ERROR(journal_->Announce(pack, false));
    if (const absl::Status status = folders_.Publish(file, pack, false); !status.ok()) {
      Drop(pack).IgnoreError();  // it may have its name already
      return status;
    }
    ++sealed_;
    return absl::OkStatus();
  }
  UploadFiles& uploads() { return uploads_; }
  PackFolders& folders() { return folders_; }

 private:
  PackFolders folders_;
  OpenPacks open_;
  UploadFiles uploads_;
  PackJournal* journal_ = nullptr;
  std::atomic<uint64_t> sealed_{0};
};

// Removes a temporary file, if it is still there under that name, at the end. What cannot be
// removed then is swept at the next start.
class FileToRemove {
 public:
  explicit FileToRemove(std::filesystem::path path) : path_(std::move(path)) {}
  ~FileToRemove() { (void)RemoveFile(path_); }
  FileToRemove(const FileToRemove&) = delete;
  FileToRemove& operator=(const FileToRemove&) = delete;

 private:
  const std::filesystem::path path_;
};

// A blob on its way into a pack of its own.
class LargeWriter : public BlobWriter {
 public:
  explicit LargeWriter(Hdf5BlobStore* store) : store_(store) {}

  ~LargeWriter() override {
    bytes_.reset();
    // What cannot be removed now is swept at the next start.
    if (!published_) (void)RemoveFile(path());
  }

  absl::Status Begin(std::string_view dtype, const Shape& shape, uint64_t size) {
    const DatasetSpec spec{std::string(kUnnamed), std::string(dtype), shape};
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<uint64_t> offsets, MakeHdf5File(path(), {&spec, 1}));
    TIFFIN_ASSIGN_OR_RETURN(std::unique_ptr<PackFile> file, PackFile::Open(path(), true));
    TIFFIN_RETURN_IF_ERROR(file->Reserve(offsets[0], size));
    bytes_ = std::make_unique<StreamedBytes>(std::move(file), offsets[0], size);
    return absl::OkStatus();
  }

  absl::Status Append(std::span<const std::string_view> parts) override {
    return bytes_->Append(parts);
  }

  absl::StatusOr<StoredBlob> Commit(const Digest& key) override {
    TIFFIN_RETURN_IF_ERROR(bytes_->CheckComplete());
    TIFFIN_RETURN_IF_ERROR(RenameDataset(path(), kUnnamed, key.ToText()));
    TIFFIN_RETURN_IF_ERROR(bytes_->file().Sync());
    TIFFIN_RETURN_IF_ERROR(store_->Publish(path(), pack_));
    published_ = true;
    return StoredBlob{Place{pack_, false, bytes_->base()}.ToText(), bytes_->Checksums(), nullptr};
  }

 private:
  std::filesystem::path path() const { return store_->folders().Temporary(pack_); }

  Hdf5BlobStore* const store_;
  const std::string pack_ = RandomPackName();
  std::unique_ptr<StreamedBytes> bytes_;
  bool published_ = false;
};

// The same, into a file that is there for the next try if this one breaks.
class ResumableWriter : public BlobWriter {
 public:
  ResumableWriter(Hdf5BlobStore* store, UploadFiles::Claim claim)
      : store_(store), claim_(std::move(claim)) {}
  ~ResumableWriter() override { store_->uploads().Leave(claim_); }

  absl::Status Append(std::span<const std::string_view> parts) override {
    return store_->uploads().Append(claim_, parts);
  }
  absl::StatusOr<StoredBlob> Commit(const Digest&) override {
    const std::string pack = RandomPackName();
    Place place{pack, false, 0};
    std::string checksums;
    TIFFIN_RETURN_IF_ERROR(store_->uploads().Complete(
        claim_, [&](const std::filesystem::path& file) { return store_->Publish(file, pack); },
        &place.offset, &checksums));
    return StoredBlob{place.ToText(), std::move(checksums), nullptr};
  }
  void Refuse() override { store_->uploads().Remove(claim_); }

 private:
  Hdf5BlobStore* const store_;
  const UploadFiles::Claim claim_;
};

// A small blob, held until its key is known.
class SmallWriter : public BlobWriter {
 public:
  SmallWriter(Hdf5BlobStore* store, std::string_view dtype, const Shape& shape, uint64_t size)
      : store_(store), name_{{}, std::string(dtype), shape}, size_(size) {}

  absl::Status Append(std::span<const std::string_view> parts) override {
    size_t more = 0;
    for (const std::string_view part : parts) more += part.size();
    if (more > size_ - bytes_.size()) {
      return absl::InvalidArgumentError(StrCat("more than the ", size_, " bytes announced"));
    }
    for (const std::string_view part : parts) bytes_ += part;
    return absl::OkStatus();
  }
  absl::StatusOr<StoredBlob> Commit(const Digest& key) override {
    if (bytes_.size() != size_) {
      return absl::InvalidArgumentError(
          StrCat(bytes_.size(), " of ", size_, " bytes were written"));
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
  auto writer = std::make_unique<LargeWriter>(this);
  TIFFIN_RETURN_IF_ERROR(writer->Begin(dtype, shape, size));
  return writer;
}

absl::StatusOr<std::unique_ptr<BlobWriter>> Hdf5BlobStore::Resume(std::string_view owner,
                                                                  const BlobName& name,
                                                                  uint64_t size, uint64_t offset,
                                                                  const TakeBytes& before) {
  TIFFIN_ASSIGN_OR_RETURN(std::optional<UploadFiles::Claim> claim,
                          uploads_.Begin(owner, name, size, offset, before));
  if (!claim) return Create(name.dtype, name.shape, size);
  return std::make_unique<ResumableWriter>(this, *std::move(claim));
}

absl::StatusOr<std::shared_ptr<BlobReader>> Hdf5BlobStore::Open(const StoredBlob& blob,
                                                                uint64_t size) {
  TIFFIN_ASSIGN_OR_RETURN(const Place place, Place::FromText(blob.location));
  TIFFIN_ASSIGN_OR_RETURN(std::shared_ptr<MappedPack> pack, folders_.Reader(place));
  return ReadBlobIn(std::move(pack), !place.open, size == 0 ? 0 : place.offset, size,
                    blob.checksums);
}

absl::StatusOr<std::vector<StoredBlob>> Hdf5BlobStore::Seal(std::span<const BlobToMove> blobs) {
  std::vector<StoredBlob> out(blobs.size());
  std::vector<std::shared_ptr<BlobReader>> readers;
  std::vector<size_t> good;
  std::vector<DatasetSpec> specs;
  std::map<std::string, int> names;
  for (size_t i = 0; i < blobs.size(); ++i) {
    const BlobToMove& blob = blobs[i];
    absl::StatusOr<std::shared_ptr<BlobReader>> reader =
        Open({blob.location, blob.checksums, nullptr}, blob.size);
    const absl::Status status = reader.ok() ? (*reader)->Check(0, blob.size) : reader.status();
    if (absl::IsDataLoss(status) || absl::IsNotFound(status)) {  // the pack is damaged, or gone
      spdlog::error("event=damaged blob=\"{}\" error=\"{}\"", blob.name.ToText(),
                    status.ToString());
      continue;
    }
    if (!status.ok()) return status;
    std::string name = blob.name.key.ToText();
    // One key can name blobs of several dtypes and shapes.
    if (const int n = ++names[name]; n > 1) name += StrCat("#", n);
    specs.push_back({name, blob.name.dtype, blob.name.shape});
    readers.push_back(*std::move(reader));
    good.push_back(i);
  }
  if (good.empty()) return out;
  const std::string pack = RandomPackName();
  const auto path = folders_.Temporary(pack);
  const FileToRemove unless_published(path);
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<uint64_t> offsets, MakeHdf5File(path, specs));
  TIFFIN_ASSIGN_OR_RETURN(const std::unique_ptr<PackFile> file, PackFile::Open(path, true));
  for (size_t n = 0; n < good.size(); ++n) {
    const BlobToMove& blob = blobs[good[n]];
    TIFFIN_ASSIGN_OR_RETURN(const BlobSlice slice, readers[n]->Slice(0, blob.size));
    TIFFIN_RETURN_IF_ERROR(file->Write(slice.bytes, offsets[n]));
    out[good[n]] = {Place{pack, false, offsets[n]}.ToText(), blob.checksums, nullptr};
  }
  TIFFIN_RETURN_IF_ERROR(file->Sync());
  TIFFIN_RETURN_IF_ERROR(Publish(path, pack));
  return out;
}

absl::Status Hdf5BlobStore::CopyPack(std::string_view pack, const std::filesystem::path& data,
                                     const std::function<absl::Status(uint64_t)>& progress) {
  const PackFolders other(data, 0);
  for (const bool open : {false, true}) {
    const Place place{std::string(pack), open, 0};
    const std::filesystem::path from = folders_.PathOf(place), to = other.PathOf(place);
    std::error_code error;
    if (!std::filesystem::exists(from, error)) continue;
    TIFFIN_RETURN_IF_ERROR(MakeFolder(to.parent_path().parent_path()));
    TIFFIN_RETURN_IF_ERROR(MakeFolder(to.parent_path()));
    TIFFIN_RETURN_IF_ERROR(CopyPackFile(from, to, !open, progress));
    return SyncFolder(to.parent_path());
  }
  return absl::NotFoundError(StrCat("no pack ", pack));
}

}  // namespace

absl::StatusOr<std::unique_ptr<BlobStore>> OpenHdf5BlobStore(const Hdf5BlobStoreOptions& options) {
  auto store = std::make_unique<Hdf5BlobStore>(options);
  TIFFIN_RETURN_IF_ERROR(store->MakeFolders());
  return store;
}

}  // namespace tiffin::server
