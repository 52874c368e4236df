// Blobs as callers know them: by name, within a namespace. Ties the index (JobDatabase) to the
// bytes (BlobStore).
#ifndef TIFFIN_SERVER_STORE_BLOB_CATALOGUE_H_
#define TIFFIN_SERVER_STORE_BLOB_CATALOGUE_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "common/bulk.h"
#include "server/blobs/blob_store.h"
#include "server/jobs/disk_room.h"
#include "server/jobs/job_database.h"
#include "server/store/answers.h"
#include "server/store/clock.h"
#include "server/store/pins.h"

namespace tiffin::server {

// Durable bytes that the index may yet refuse. The store outlives it.
class PendingBlob {
 public:
  PendingBlob(BlobStore* store, StoredBlob blob) : store_(store), blob_(std::move(blob)) {}
  ~PendingBlob() {
    if (!entered_) store_->Discard(blob_);
  }
  PendingBlob(const PendingBlob&) = delete;
  PendingBlob& operator=(const PendingBlob&) = delete;

  const StoredBlob& blob() const { return blob_; }
  // Said within the transaction, which may still fail: see BlobCatalogue::Enter.
  void set_entered(bool entered) { entered_ = entered; }

 private:
  BlobStore* const store_;
  const StoredBlob blob_;
  bool entered_ = false;
};

// A blob whose bytes are durable, not yet in the index. `stored` is null if the index had it.
struct NewBlob {
  BlobName name;
  uint64_t size = 0;
  std::optional<Digest> value;   // the value whose JSON text it is
  std::vector<RecordRef> holds;  // refs in that text
  // Taken back when the last copy goes and the index did not take it.
  std::shared_ptr<PendingBlob> stored;
};

// What a Deref or Stat names.
using BlobAddress = std::variant<BlobName, Digest /* of a key alone */, ValueRef>;

struct BlobView {
  BlobRow row;
  bool json = false;  // it is the JSON text of a value
};

struct BlobStat {
  BlobView blob;
  std::string pack;
  bool sealed = false;
  std::vector<Digest> made_by, used_by;
};

struct SealCounts {
  uint64_t packs = 0, blobs = 0, damaged = 0;
};

struct CollectCounts {
  uint64_t blobs = 0, blob_bytes = 0, packs_removed = 0, packs_rewritten = 0, freed_bytes = 0,
           pinned = 0;
};

struct UploadProgress {
  bool exists = false;
  uint64_t received = 0;  // bytes to go on from
  bool sending = false;   // by a call that lives
};

// What a reader that finds a blob damaged does about it, beside saying DATA_LOSS.
enum class IfDamaged {
  kReport,  // BlobCatalogue::ReportDamage, which waits for the disk
  // nothing: on a thread that must not wait; it is to be tried again where waiting is allowed
  kOnlyTell,
};

// One upload. Destruction without Finish leaves nothing behind, but what can be resumed.
class Upload {
 public:
  // The parts in order. INVALID_ARGUMENT past the announced size.
  absl::Status Append(std::span<const std::string_view> parts);
  // INVALID_ARGUMENT if bytes are missing.
  absl::Status CheckComplete() const;
  // What was sent is not what was announced: nothing stays.
  void Refuse() { writer_->Refuse(); }
  uint64_t written() const { return written_; }

 private:
  friend class BlobCatalogue;
  BlobName name_;  // as announced; the key may be unknown
  bool key_known_ = false;
  bool resumed_ = false;
  uint64_t size_ = 0, written_ = 0;
  Sha256 hash_;
  std::unique_ptr<BlobWriter> writer_;
};

struct PutOutcome {
  BlobName name;
  uint64_t size = 0;
  bool existed = false;
};

// Threads: all methods may be called from any thread but the writer's; they block on the disk.
class BlobCatalogue : private PackJournal {
 public:
  struct Options {
    std::chrono::seconds pin_time = std::chrono::hours(1);
    DiskRoom* room = nullptr;  // outlives the catalogue; null: there is always room
    // looks for uploads that nobody goes on with
    std::chrono::seconds expire_every = std::chrono::minutes(10);
  };
  // All outlive the catalogue.
  BlobCatalogue(JobDatabase* database, BlobStore* store, Clock* clock, Options options);
  BlobCatalogue(JobDatabase* database, BlobStore* store, Clock* clock)
      : BlobCatalogue(database, store, clock, Options()) {}
  ~BlobCatalogue() override;

  // Clears up after the last run, then seals what it left open and what fills up, and lets broken
  // uploads expire, on a thread of its own.
  absl::Status Start();
  void Stop();

  // Makes bulk durable, small blobs with one sync for all. What the index already has is not
  // written, and pinned.
  absl::StatusOr<std::vector<NewBlob>> MakeDurable(std::vector<TakenBulk> bulk);
  // Enters a durable blob into the index, in the caller's transaction, and shows it to the
  // namespace. A damaged one is healed by it. Returns its row. Call Settle afterwards.
  static absl::StatusOr<RowId> Enter(JobTransaction& tx, RowId namespace_id, const NewBlob& blob,
                                     absl::Time now);
  // After the transaction of Enter: bytes that it did not take are given back, unless it is unknown
  // whether it did (UNAVAILABLE): the next start sees to those.
  static void Settle(const absl::Status& committed, std::span<const NewBlob> blobs);
  // Which of the refs nothing visible stands behind; the rows of the others.
  static absl::StatusOr<Missing> FindMissing(JobReader& reader, RowId namespace_id,
                                             const std::vector<RecordRef>& refs,
                                             std::vector<RowId>* found = nullptr);

  // Pins what is there.
  absl::StatusOr<Missing> FindMissing(std::string_view name_space,
                                      const std::vector<RecordRef>& refs);

  // Checks dtype and shape. If the blob is there (and its key is told), the outcome; else an upload
  // from byte `offset` on (see BlobStore::Resume). What is there of it is read: CANCELLED if `gone`
  // says meanwhile that nobody wants it any more.
  absl::StatusOr<std::variant<PutOutcome, std::unique_ptr<Upload>>> BeginPut(
      std::string_view name_space, const BlobName& name, bool key_known, uint64_t offset,
      const std::function<bool()>& gone);
  absl::StatusOr<UploadProgress> QueryPut(std::string_view name_space, const BlobName& name);
  // INVALID_ARGUMENT if the key is not theirs. The upload is complete.
  absl::StatusOr<PutOutcome> FinishPut(std::string_view name_space, std::unique_ptr<Upload> upload);
  // Small blobs, each with its own outcome; one sync and one transaction for all. An empty key
  // (`key_known` false) is computed.
  struct SmallPut {
    BlobName name;
    bool key_known = false;
    std::string bytes;
  };
  std::vector<absl::StatusOr<PutOutcome>> PutSmall(std::string_view name_space,
                                                   std::vector<SmallPut> blobs);

  // NOT_FOUND if the namespace sees no such blob; INVALID_ARGUMENT if a key alone names several.
  absl::StatusOr<BlobView> Find(std::string_view name_space, const BlobAddress& address);
  // For reading, wherever the blob has moved since the row was read. DATA_LOSS if it is known to be
  // damaged, or found so now.
  absl::StatusOr<std::shared_ptr<BlobReader>> Open(const BlobRow& blob,
                                                   IfDamaged if_damaged = IfDamaged::kReport);
  // A reader found it damaged: until it is put again, it is served to nobody. Returns `found`, with
  // the blob's name.
  absl::Status ReportDamage(const BlobRow& blob, const absl::Status& found);
  // Called before and after damage is written down, on the thread that reported it. Null: nobody is
  // told. Packs are sealed in the background once there is somebody.
  void OnDamage(std::function<void(RowId)> callback) {
    std::lock_guard lock(mutex_);
    on_damage_ = std::move(callback);
    wake_.notify_all();
  }
  // Makes misses of the results that need a blob that is set aside. Repeatable.
  void TellDamage(RowId blob);
  // All bytes, of a blob of moderate size.
  absl::StatusOr<std::string> ReadWhole(const BlobRow& blob);
  absl::StatusOr<std::string> ReadWhole(RowId namespace_id, const RecordRef& ref);
  absl::StatusOr<BlobStat> Stat(std::string_view name_space, const BlobAddress& address);

  // Rewrites packs that are full or left open; with `all` the current one too. What cannot be
  // sealed does not keep the others from it: the first error is returned at the end. With a
  // deadline it stops between two packs: the next start goes on.
  absl::StatusOr<SealCounts> Seal(bool all, SteadyTime deadline = SteadyTime::max());
  // While it is held no pack is sealed or removed.
  std::unique_lock<std::mutex> HoldPacks() { return std::unique_lock(seal_mutex_); }
  // FAILED_PRECONDITION: what clients were told before the start may not be collected yet.
  absl::Status CheckMayCollect();
  bool Pinned(RowId blob) { return pins_.Pinned(blob); }
  // Of these blobs, and of those they hold, deletes what is neither used nor pinned, in the
  // caller's transaction.
  absl::Status DeleteUnused(JobTransaction& tx, std::vector<RowId> blobs);
  // Removes what nothing refers to (admin.proto: Collect).
  absl::StatusOr<CollectCounts> Collect(bool dry_run);

  // Sealed blobs that the namespace sees, a page after row `after`.
  struct Placed {
    RowId row = 0;
    BlobName name;
    std::string path;     // of the pack
    uint64_t offset = 0;  // of the bytes in it
  };
  absl::StatusOr<std::vector<Placed>> ListPlaces(std::string_view name_space, RowId after,
                                                 int limit);

  // Blobs that are set aside now.
  absl::StatusOr<uint64_t> SetAsideBlobs();
  // Blobs found damaged since the start.
  uint64_t damage_found() const { return damage_found_; }
  BlobStoreStats StoreStats() const { return store_->Stats(); }

 private:
  absl::Status CheckRoom() { return room_ ? room_->Check() : absl::OkStatus(); }
  absl::Status Announce(std::string_view pack, bool open) override;
  absl::Status SealPack(const std::string& pack, SealCounts* counts);
  // Of a pack whose row is pending.
  absl::Status RemovePack(const std::string& pack);
  absl::StatusOr<BlobView> Find(JobReader& reader, RowId namespace_id, const BlobAddress& address);
  void WorkInBackground();
  // A blob is appended to an open pack: sealing in the background waits for a pause.
  void NoteSmallPut();
  // Pins the blobs that are there and sound; of the others the row is 0.
  absl::StatusOr<std::vector<RowId>> PinKnown(const std::vector<BlobName>& names);
  std::shared_ptr<PendingBlob> Pending(StoredBlob blob) {
    return std::make_shared<PendingBlob>(store_, std::move(blob));
  }
  absl::Status CollectBlobs(CollectCounts* counts);
  absl::Status CountUnused(CollectCounts* counts);
  absl::Status CollectPacks(CollectCounts* counts);

  JobDatabase* const database_;
  BlobStore* const store_;
  Clock* const clock_;
  DiskRoom* const room_;
  const std::chrono::seconds expire_every_;
  Pins pins_;
  const SteadyTime started_;
  std::atomic<uint64_t> damage_found_{0};
  std::mutex seal_mutex_;  // one sealing at a time
  std::mutex mutex_;       // guards what is below
  std::condition_variable wake_;
  bool work_ = false, stop_ = false;
  size_t full_packs_ = 0;  // open ones, since the last sealing; about
  std::chrono::steady_clock::time_point last_small_ = {};  // when a blob was appended to one
  std::function<void(RowId)> on_damage_;
  std::thread background_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_BLOB_CATALOGUE_H_
