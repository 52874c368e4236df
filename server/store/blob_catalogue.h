// Blobs as callers know them: by name, within a namespace. Ties the index (JobDatabase) to the bytes
// (BlobStore).
#ifndef TIFFIN_SERVER_STORE_BLOB_CATALOGUE_H_
#define TIFFIN_SERVER_STORE_BLOB_CATALOGUE_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "common/bulk.h"
#include "server/blobs/blob_store.h"
#include "server/jobs/job_database.h"
#include "server/store/answers.h"
#include "server/store/clock.h"

namespace tiffin::server {

// A blob whose bytes are durable, not yet in the index. `stored` is absent if the index had it.
struct NewBlob {
  BlobName name;
  uint64_t size = 0;
  std::optional<Digest> value;  // the value whose JSON text it is
  std::optional<StoredBlob> stored;
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

// One upload. Destruction without Finish leaves nothing behind.
class Upload {
 public:
  // INVALID_ARGUMENT past the announced size.
  absl::Status Append(std::string_view bytes);

 private:
  friend class BlobCatalogue;
  BlobName name_;  // as announced; the key may be unknown
  bool key_known_ = false;
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
  // Both outlive the catalogue.
  BlobCatalogue(JobDatabase* database, BlobStore* store, Clock* clock);
  ~BlobCatalogue() override;

  // Clears up after the last run, then seals what it left open and what fills up, on a thread of its
  // own.
  absl::Status Start();
  void Stop();

  // Makes bulk durable, small blobs with one sync for all. What the index already has is not written.
  absl::StatusOr<std::vector<NewBlob>> MakeDurable(std::vector<TakenBulk> bulk);
  // Enters a durable blob into the index, in the caller's transaction, and shows it to the namespace.
  // Returns its row.
  static absl::StatusOr<RowId> Enter(JobTransaction& tx, RowId namespace_id, const NewBlob& blob,
                                     absl::Time now);
  // Which of the refs nothing visible stands behind; the rows of the others.
  static absl::StatusOr<Missing> FindMissing(JobReader& reader, RowId namespace_id,
                                             const std::vector<RecordRef>& refs,
                                             std::vector<RowId>* found = nullptr);

  absl::StatusOr<Missing> FindMissing(std::string_view name_space,
                                      const std::vector<RecordRef>& refs);

  // Checks dtype and shape. If the blob is there (and its key is told), the outcome; else an upload.
  absl::StatusOr<std::variant<PutOutcome, std::unique_ptr<Upload>>> BeginPut(
      std::string_view name_space, const BlobName& name, bool key_known);
  // INVALID_ARGUMENT if bytes are missing or the key is not theirs.
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
  // Bytes [offset, offset + length), which must lie within the blob. DATA_LOSS if damaged.
  absl::StatusOr<BlobSlice> Read(const BlobRow& blob, uint64_t offset, uint64_t length);
  absl::StatusOr<std::string> ReadWhole(RowId namespace_id, const RecordRef& ref);
  absl::StatusOr<BlobStat> Stat(std::string_view name_space, const BlobAddress& address);

  // Rewrites packs that are full or left open; with `all` the current one too.
  absl::StatusOr<SealCounts> Seal(bool all);

  BlobStoreStats StoreStats() const { return store_->Stats(); }

 private:
  absl::Status Announce(std::string_view pack, bool open) override;
  absl::Status SealPack(const std::string& pack, SealCounts* counts);
  absl::StatusOr<BlobView> Find(JobReader& reader, RowId namespace_id, const BlobAddress& address);
  void SealInBackground();

  JobDatabase* const database_;
  BlobStore* const store_;
  Clock* const clock_;
  std::mutex seal_mutex_;  // one sealing at a time
  std::mutex mutex_;       // guards what is below
  std::condition_variable wake_;
  bool work_ = false, stop_ = false;
  std::thread sealer_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_BLOB_CATALOGUE_H_
