// Packs: sealing, collecting, and clearing up after the last run.
#include <spdlog/spdlog.h>

#include <map>
#include <set>
#include <string>
#include <utility>

#include "common/status.h"
#include "server/store/blob_catalogue.h"
#include "server/store/damaged.h"

namespace tiffin::server {
namespace {

constexpr int kPage = 1000;  // rows looked at, or changed, at a time
// A pack with less of its bytes alive is rewritten.
constexpr double kSparse = 0.5;
// Of a file, and of each dataset in it, beside the bytes: about what HDF5 takes.
constexpr uint64_t kFileBytes = 2048, kNameBytes = 512;

uint64_t FileBytes(const PackUse& use) {
  return use.bytes + kFileBytes + kNameBytes * static_cast<uint64_t>(use.blobs);
}
// Sealing takes a processor from those who put: it waits for a pause of theirs, unless so many
// packs are due.
constexpr auto kPause = std::chrono::seconds(1);
constexpr size_t kMostDue = 16;

}  // namespace

absl::Status BlobCatalogue::Start() {
  std::vector<KnownPack> known;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    for (const PackState state : {PackState::kPending, PackState::kOpen}) {
      TIFFIN_ASSIGN_OR_RETURN(const std::vector<PackRow> packs, reader.AllPacks(state));
      for (const PackRow& pack : packs) {
        known.push_back({pack.name, state == PackState::kPending, state == PackState::kOpen});
      }
    }
    return absl::OkStatus();
  }));
  TIFFIN_RETURN_IF_ERROR(store_->Start(this, known));
  TIFFIN_RETURN_IF_ERROR(database_->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
    for (const KnownPack& pack : known) {
      if (pack.pending) TIFFIN_RETURN_IF_ERROR(tx.DeletePack(pack.name));
    }
    return absl::OkStatus();
  }));
  work_ = true;
  background_ = std::thread([this] { WorkInBackground(); });
  return absl::OkStatus();
}

void BlobCatalogue::Stop() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    wake_.notify_all();
  }
  if (background_.joinable()) background_.join();
}

void BlobCatalogue::WorkInBackground() {
  auto expiry = std::chrono::steady_clock::now() + expire_every_;
  std::unique_lock lock(mutex_);
  while (true) {
    if (std::chrono::steady_clock::now() >= expiry) {
      lock.unlock();
      store_->ExpireUploads();
      lock.lock();
      expiry = std::chrono::steady_clock::now() + expire_every_;
    }
    // What it finds damaged must reach those whose results need it.
    if (!wake_.wait_until(lock, expiry, [this] { return stop_ || (work_ && on_damage_); }))
      continue;
    if (stop_) return;
    // Real time, whatever the clock says: it is about processors.
    const auto paused = last_small_ + kPause;
    if (full_packs_ < kMostDue && std::chrono::steady_clock::now() < paused) {
      wake_.wait_until(lock, paused);
      continue;
    }
    work_ = false;
    full_packs_ = 0;
    lock.unlock();
    const absl::StatusOr<SealCounts> counts = Seal(false);
    if (!counts.ok()) spdlog::warn("event=seal error=\"{}\"", counts.status().ToString());
    lock.lock();
  }
}

void BlobCatalogue::NoteSmallPut() {
  std::lock_guard lock(mutex_);
  last_small_ = std::chrono::steady_clock::now();
}

absl::Status BlobCatalogue::Announce(std::string_view pack, bool open) {
  if (open) {
    // A new open pack follows a full one, mostly.
    std::lock_guard lock(mutex_);
    work_ = true;
    ++full_packs_;
    wake_.notify_all();
  }
  const PackRow row{std::string(pack), open ? PackState::kOpen : PackState::kPending};
  return database_->WriteAndWait([row](JobTransaction& tx) { return tx.PutPack(row); });
}

absl::Status BlobCatalogue::RemovePack(const std::string& pack) {
  if (!store_->Drop(pack).ok()) return absl::OkStatus();  // the next start tries again
  return database_->WriteAndWait([pack](JobTransaction& tx) { return tx.DeletePack(pack); });
}

absl::Status BlobCatalogue::SealPack(const std::string& pack, SealCounts* counts) {
  std::vector<BlobRow> rows;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(rows, reader.BlobsInPack(pack));
    std::erase_if(rows, [](const BlobRow& row) { return IsDamaged(row); });
    return absl::OkStatus();
  }));
  std::vector<StoredBlob> moved;
  if (!rows.empty()) {
    std::vector<BlobToMove> blobs;
    for (const BlobRow& row : rows)
      blobs.push_back({row.name, row.size, row.location, row.checksums});
    TIFFIN_ASSIGN_OR_RETURN(moved, store_->Seal(blobs));
  }
  const auto tell = [&] {
    for (size_t i = 0; i < rows.size(); ++i) {
      if (moved[i].location.empty()) TellDamage(rows[i].id);
    }
  };
  tell();  // and again when it is written down: see ReportDamage
  size_t damaged = 0;
  std::set<std::string> packs;
  const absl::Status written = database_->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
    damaged = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      if (moved[i].location.empty()) {
        ++damaged;
        TIFFIN_RETURN_IF_ERROR(
            tx.MoveBlob(rows[i].id, DamagedLocation(rows[i]), rows[i].checksums));
        continue;
      }
      packs.insert(std::string(PackOf(moved[i].location)));
      TIFFIN_RETURN_IF_ERROR(tx.MoveBlob(rows[i].id, moved[i].location, moved[i].checksums));
    }
    for (const std::string& name : packs) {
      TIFFIN_RETURN_IF_ERROR(tx.PutPack({name, PackState::kSealed}));
    }
    // What is damaged stays for somebody to look at; the pack is never appended to again.
    // A crash before its file is gone leaves a pending row, which the next start sees to.
    return tx.PutPack({pack, damaged == 0 ? PackState::kPending : PackState::kSealed});
  });
  if (!written.ok()) {
    // Their rows are pending still: what cannot be removed now goes with the next start. After
    // UNAVAILABLE the transaction may be on disk all the same, and the next start finds the blobs
    // in the new packs.
    if (!absl::IsUnavailable(written)) {
      // logged, and pending
      for (const std::string& name : packs) store_->Drop(name).IgnoreError();
    }
    return written;
  }
  tell();
  if (damaged == 0) {
    TIFFIN_RETURN_IF_ERROR(RemovePack(pack));
  } else {
    store_->SetAside(pack);
  }
  damage_found_ += damaged;
  ++counts->packs;
  counts->blobs += rows.size() - damaged;
  counts->damaged += damaged;
  spdlog::info("event=sealed pack={} blobs={} damaged={}", pack, rows.size() - damaged, damaged);
  return absl::OkStatus();
}

absl::StatusOr<SealCounts> BlobCatalogue::Seal(bool all, SteadyTime deadline) {
  TIFFIN_RETURN_IF_ERROR(CheckRoom());  // a full disk is left to Collect
  std::lock_guard lock(seal_mutex_);
  SealCounts counts;
  absl::Status first;
  for (const std::string& pack : store_->PacksToSeal(all)) {
    if (clock_->Steady() >= deadline) break;
    first.Update(Annotate(SealPack(pack, &counts), pack));
  }
  if (!first.ok()) return first;
  return counts;
}

// ---- Collect
// --------------------------------------------------------------------------------------

absl::Status BlobCatalogue::CheckMayCollect() {
  const auto ready = started_ + pins_.time();
  if (clock_->Steady() >= ready) return absl::OkStatus();
  return absl::FailedPreconditionError(
      StrCat("what clients were told before the start may be in use: wait for another ",
             std::chrono::ceil<std::chrono::seconds>(ready - clock_->Steady()).count(), " s"));
}

absl::Status BlobCatalogue::DeleteUnused(JobTransaction& tx, std::vector<RowId> blobs) {
  while (!blobs.empty()) {
    const RowId blob = blobs.back();
    blobs.pop_back();
    TIFFIN_ASSIGN_OR_RETURN(const std::optional<BlobRow> row, tx.FindBlob(blob));
    TIFFIN_ASSIGN_OR_RETURN(const bool used, tx.BlobInUse(blob));
    if (!row || used || pins_.Pinned(blob)) continue;
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<RowId> held, tx.BlobsHeldBy(blob));
    TIFFIN_RETURN_IF_ERROR(tx.DeleteBlob(blob));
    blobs.insert(blobs.end(), held.begin(), held.end());
  }
  return absl::OkStatus();
}

absl::StatusOr<CollectCounts> BlobCatalogue::Collect(bool dry_run) {
  if (!dry_run) TIFFIN_RETURN_IF_ERROR(CheckMayCollect());
  std::lock_guard lock(seal_mutex_);
  CollectCounts counts;
  if (dry_run) {
    TIFFIN_RETURN_IF_ERROR(CountUnused(&counts));
    return counts;
  }
  store_->ExpireUploads();
  TIFFIN_RETURN_IF_ERROR(CollectBlobs(&counts));
  TIFFIN_RETURN_IF_ERROR(CollectPacks(&counts));
  if (room_) room_->Look();
  spdlog::info("event=collected blobs={} bytes={} packs_removed={} packs_rewritten={} freed={}",
               counts.blobs, counts.blob_bytes, counts.packs_removed, counts.packs_rewritten,
               counts.freed_bytes);
  return counts;
}

// Deleting a value may leave what it held unused, so it is gone over until nothing more is found.
absl::Status BlobCatalogue::CollectBlobs(CollectCounts* counts) {
  for (bool again = true; again;) {
    const uint64_t before = counts->blobs;
    counts->pinned = 0;
    for (RowId after = 0;;) {
      std::vector<BlobRow> page;
      TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
        TIFFIN_ASSIGN_OR_RETURN(page, reader.UnusedBlobs(after, kPage));
        return absl::OkStatus();
      }));
      if (page.empty()) break;
      after = page.back().id;
      uint64_t blobs = 0, bytes = 0, pinned = 0;
      TIFFIN_RETURN_IF_ERROR(database_->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
        blobs = bytes = pinned = 0;
        for (const BlobRow& row : page) {
          // Looked at again, where nobody can come between.
          TIFFIN_ASSIGN_OR_RETURN(const bool used, tx.BlobInUse(row.id));
          if (used) continue;
          if (pins_.Pinned(row.id)) {
            ++pinned;
            continue;
          }
          TIFFIN_RETURN_IF_ERROR(tx.DeleteBlob(row.id));
          ++blobs;
          bytes += row.size;
        }
        return absl::OkStatus();
      }));
      counts->blobs += blobs;
      counts->blob_bytes += bytes;
      counts->pinned += pinned;
    }
    again = counts->blobs != before;
  }
  return absl::OkStatus();
}

absl::Status BlobCatalogue::CountUnused(CollectCounts* counts) {
  return database_->Read([&](JobReader& reader) -> absl::Status {
    for (RowId after = 0;;) {
      TIFFIN_ASSIGN_OR_RETURN(const std::vector<BlobRow> page, reader.UnusedBlobs(after, kPage));
      if (page.empty()) break;
      after = page.back().id;
      for (const BlobRow& row : page) {
        if (pins_.Pinned(row.id)) {
          ++counts->pinned;
          continue;
        }
        ++counts->blobs;
        counts->blob_bytes += row.size;
      }
    }
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<PackUse> uses, reader.PackUses());
    std::set<std::string, std::less<>> alive;
    for (const PackUse& use : uses) alive.emplace(WithoutDamage(use.pack));
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<PackRow> packs, reader.AllPacks(PackState::kSealed));
    for (const PackRow& pack : packs) {
      if (alive.contains(pack.name)) continue;
      ++counts->packs_removed;
      counts->freed_bytes += store_->PackBytes(pack.name).value_or(0);
    }
    return absl::OkStatus();
  });
}

// Packs with nothing alive first: they free space without needing any.
absl::Status BlobCatalogue::CollectPacks(CollectCounts* counts) {
  std::map<std::string, PackUse, std::less<>> alive;
  std::vector<PackRow> packs;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const std::vector<PackUse> uses, reader.PackUses());
    for (const PackUse& use : uses) {
      PackUse& sum = alive[std::string(WithoutDamage(use.pack))];
      sum.blobs += use.blobs;
      // What is set aside is not moved, so that its pack counts as full.
      sum.bytes = use.pack.starts_with('!') ? UINT64_MAX / 2 : sum.bytes + use.bytes;
    }
    TIFFIN_ASSIGN_OR_RETURN(packs, reader.AllPacks(PackState::kSealed));
    return absl::OkStatus();
  }));
  std::vector<std::string> sparse;
  for (const PackRow& pack : packs) {
    const absl::StatusOr<uint64_t> bytes = store_->PackBytes(pack.name);
    if (const auto use = alive.find(pack.name); use != alive.end()) {
      if (bytes.ok() &&
          static_cast<double>(FileBytes(use->second)) < kSparse * static_cast<double>(*bytes)) {
        sparse.push_back(pack.name);
      }
      continue;
    }
    bool dead = false;
    TIFFIN_RETURN_IF_ERROR(database_->WriteAndWait([&](JobTransaction& tx) -> absl::Status {
      // A blob may have been entered since; and a crash before the file is gone leaves a pending
      // row.
      TIFFIN_ASSIGN_OR_RETURN(const std::vector<BlobRow> rows, tx.BlobsInPack(pack.name));
      dead = rows.empty();
      return dead ? tx.PutPack({pack.name, PackState::kPending}) : absl::OkStatus();
    }));
    if (!dead) continue;
    TIFFIN_RETURN_IF_ERROR(RemovePack(pack.name));
    ++counts->packs_removed;
    counts->freed_bytes += bytes.value_or(0);
  }
  for (const std::string& pack : sparse) {
    const uint64_t before = store_->PackBytes(pack).value_or(0);
    SealCounts rewritten;
    const absl::Status status = SealPack(pack, &rewritten);
    if (absl::IsResourceExhausted(status)) continue;  // others may fit
    TIFFIN_RETURN_IF_ERROR(Annotate(status, pack));
    ++counts->packs_rewritten;
    const uint64_t live = FileBytes(alive[pack]);
    counts->freed_bytes += before > live ? before - live : 0;
  }
  return absl::OkStatus();
}

// ---- Catalogue
// ------------------------------------------------------------------------------------

absl::StatusOr<std::vector<BlobCatalogue::Placed>> BlobCatalogue::ListPlaces(
    std::string_view name_space, RowId after, int limit) {
  std::vector<BlobRow> rows;
  TIFFIN_RETURN_IF_ERROR(database_->Read([&](JobReader& reader) -> absl::Status {
    TIFFIN_ASSIGN_OR_RETURN(const RowId ns, reader.FindNamespace(name_space));
    TIFFIN_ASSIGN_OR_RETURN(rows, reader.ListBlobs(ns, after, limit));
    return absl::OkStatus();
  }));
  std::vector<Placed> out;
  for (const BlobRow& row : rows) {
    Placed placed{row.id, row.name, "", 0};
    if (!IsDamaged(row)) {
      TIFFIN_ASSIGN_OR_RETURN(const std::shared_ptr<BlobReader> reader, Open(row));
      if (const std::optional<FilePlace> place = reader->File(); place && place->sealed) {
        placed.path = place->path;
        placed.offset = place->offset;
      }
    }
    out.push_back(std::move(placed));
  }
  return out;
}

}  // namespace tiffin::server
