#include "server/blobs/open_packs.h"

#include <algorithm>
#include <utility>

#include "common/crypto.h"
#include "common/status.h"
#include "server/blobs/checksum.h"
#include "server/blobs/hdf5_packs.h"
#include "server/blobs/pack_name.h"

namespace tiffin::server {
namespace {
constexpr uint64_t kAlign = 64;  // what a mapped array may want
// Sealing a pack looks at all its blobs at once.
constexpr uint64_t kMaxBlobs = 16'384;
}  // namespace

void OpenPacks::Start(PackJournal* journal, std::vector<std::string> left_open) {
  journal_ = journal;
  left_open_ = std::move(left_open);
}

absl::StatusOr<std::shared_ptr<OpenPack>> OpenPacks::Make() {
  auto pack = std::make_shared<OpenPack>();
  pack->name = RandomPackName();
  pack->capacity = pack_bytes_;
  TIFFIN_RETURN_IF_ERROR(journal_->Announce(pack->name, true));
  const absl::Status made = MakeFile(*pack);
  if (made.ok()) return pack;
  // On a full disk, what each try leaves would keep it full. The row goes with the next start.
  (void)folders_->Remove(pack->name);
  return made;
}

absl::Status OpenPacks::MakeFile(OpenPack& pack) {
  const std::filesystem::path path = folders_->Temporary(pack.name);
  const DatasetSpec bytes{"bytes", "uint8", {pack_bytes_}};
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<uint64_t> offsets, MakeHdf5File(path, {&bytes, 1}));
  pack.base = offsets[0];
  TIFFIN_ASSIGN_OR_RETURN(pack.file, PackFile::Open(path, true));
  TIFFIN_RETURN_IF_ERROR(pack.file->Reserve(pack.base, pack.capacity));
  TIFFIN_RETURN_IF_ERROR(pack.file->Sync());
  return folders_->Publish(path, pack.name, true);
}

absl::StatusOr<std::shared_ptr<OpenPack>> OpenPacks::Room(uint64_t bytes, uint64_t* at) {
  const auto take = [&]() -> std::shared_ptr<OpenPack> {
    std::lock_guard lock(mutex_);
    if (!current_) return nullptr;
    const uint64_t start = (current_->used + kAlign - 1) / kAlign * kAlign;
    if (current_->failed || start + bytes > current_->capacity || current_->blobs == kMaxBlobs) {
      full_.push_back(std::exchange(current_, nullptr));
      return nullptr;
    }
    *at = current_->base + start;
    current_->used = start + bytes;
    ++current_->blobs;
    ++current_->pins;
    return current_;
  };
  if (auto pack = take()) return pack;
  std::lock_guard make(make_mutex_);
  if (auto pack = take()) return pack;  // made while this waited
  TIFFIN_ASSIGN_OR_RETURN(std::shared_ptr<OpenPack> made, Make());
  {
    std::lock_guard lock(mutex_);
    current_ = std::move(made);
  }
  auto pack = take();
  if (!pack) return absl::InternalError(StrCat("a blob of ", bytes, " bytes fits no open pack"));
  return pack;
}

std::shared_ptr<const void> OpenPacks::Pin(const std::shared_ptr<OpenPack>& pack) {
  return {pack.get(), [this, pack](const void*) {
            std::lock_guard lock(mutex_);
            if (--pack->pins == 0) unpinned_.notify_all();
          }};
}

absl::StatusOr<std::vector<StoredBlob>> OpenPacks::Append(std::span<const BlobBytes> blobs) {
  // Blobs that lie behind each other in a pack are written at once.
  struct Run {
    std::shared_ptr<OpenPack> pack;
    uint64_t start = 0, end = 0;
    std::vector<std::string_view> parts;
    uint64_t number = 0;  // of the write
  };
  static constexpr char kGap[kAlign] = {};
  std::vector<StoredBlob> out;
  std::vector<Run> runs;
  for (const BlobBytes& blob : blobs) {
    uint64_t at = 0;
    TIFFIN_ASSIGN_OR_RETURN(const std::shared_ptr<OpenPack> pack, Room(blob.bytes.size(), &at));
    out.push_back({Place{pack->name, true, at}.ToText(), Checksums(blob.bytes), Pin(pack)});
    // A gap as wide as that is somebody else's.
    if (runs.empty() || runs.back().pack != pack || at - runs.back().end >= kAlign) {
      runs.push_back({pack, at, at, {}});
    }
    Run& run = runs.back();
    if (at > run.end) run.parts.emplace_back(kGap, at - run.end);
    run.parts.push_back(blob.bytes);
    run.end = at + blob.bytes.size();
  }
  for (Run& run : runs) {
    const absl::Status written = run.pack->file->Write(run.parts, run.start);
    std::lock_guard lock(mutex_);
    if (!written.ok()) {
      run.pack->failed = true;
      return written;
    }
    run.number = ++run.pack->written;
  }
  for (const Run& run : runs) TIFFIN_RETURN_IF_ERROR(Sync(run.pack, run.number));
  return out;
}

absl::Status OpenPacks::Sync(const std::shared_ptr<OpenPack>& pack, uint64_t until) {
  std::unique_lock lock(mutex_);
  while (pack->synced < until) {
    if (pack->failed) {
      return absl::UnavailableError(StrCat("pack ", pack->name, " could not be synced"));
    }
    if (pack->syncing) {
      synced_.wait(lock);
      continue;
    }
    pack->syncing = true;
    const uint64_t covered = pack->written;
    lock.unlock();
    const absl::Status status = pack->file->SyncData();
    lock.lock();
    pack->syncing = false;
    synced_.notify_all();
    if (!status.ok()) {
      // The kernel may have dropped the pages: a second sync would say OK and mean nothing.
      pack->failed = true;
      return status;
    }
    pack->synced = covered;
  }
  return absl::OkStatus();
}

std::vector<std::string> OpenPacks::ToSeal(bool all) {
  std::unique_lock lock(mutex_);
  if (all && current_) full_.push_back(std::exchange(current_, nullptr));
  std::vector<std::string> out = left_open_;
  const auto full = full_;
  for (const auto& pack : full) {
    unpinned_.wait(lock, [&] { return pack->pins == 0; });
    out.push_back(pack->name);
  }
  return out;
}

void OpenPacks::Forget(std::string_view name) {
  std::lock_guard lock(mutex_);
  std::erase_if(full_, [&](const auto& pack) { return pack->name == name; });
  std::erase(left_open_, name);
}

uint64_t OpenPacks::bytes() const {
  std::lock_guard lock(mutex_);
  uint64_t bytes = current_ ? current_->used : 0;
  for (const auto& pack : full_) bytes += pack->used;
  return bytes;
}

}  // namespace tiffin::server
