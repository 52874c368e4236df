// Where the bytes of blobs live. Knows nothing of jobs, of SQL or of who may see what: the index
// (JobDatabase) keeps the location that this gives back.
#ifndef TIFFIN_SERVER_BLOBS_BLOB_STORE_H_
#define TIFFIN_SERVER_BLOBS_BLOB_STORE_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/npy.h"
#include "common/slab.h"

namespace tiffin::server {

// Bytes of one checksum block: the index keeps one XXH3-128 (16 bytes, canonical big-endian form)
// for each of them, the last block being shorter.
inline constexpr uint64_t kChecksumBlock = uint64_t{1} << 20;

// Blobs below this share packs, others get one of their own.
inline constexpr uint64_t kSmallBlob = uint64_t{1} << 20;

// Where a durable blob lies. `location` is opaque to all but the store that made it; it starts with
// the pack's name and a ':'.
struct StoredBlob {
  std::string location;
  std::string checksums;  // 16 bytes for each kChecksumBlock begun
  // Keeps the location valid (the pack is not sealed away) until it is in the index: let go after
  // the transaction. Null on what was read from the index.
  std::shared_ptr<const void> pin;
};

// The part of `location` before the ':'.
std::string_view PackOf(std::string_view location);

// A part of a blob, with whatever keeps the memory alive.
struct BlobSlice {
  std::string_view bytes;
  std::shared_ptr<const void> owner;
};

// Where a blob's bytes lie in a file, for those who may map it.
struct FilePlace {
  std::string path;
  uint64_t offset = 0;
  bool sealed = false;  // never modified again
};

// Bytes [begin, end) of a blob that are not what they were.
struct DamagedRange {
  uint64_t begin = 0, end = 0;
  std::string how;          // `differ from their checksum`
  bool unreadable = false;  // the disk failed, which may pass
};

// A blob's bytes, mapped: they stay readable whatever becomes of the pack's name.
// Threads: all methods may be called from any thread. Ranges lie within the blob.
class BlobReader {
 public:
  virtual ~BlobReader() = default;
  // Whether the range was brought in and checked since the pack was mapped, so that using it hardly
  // waits for the disk. Never blocks.
  virtual bool Checked(uint64_t offset, uint64_t length) const = 0;
  // Brings the range in and checks every checksum block that it touches and that was not checked
  // yet. DATA_LOSS, naming pack and block, if a checksum differs or the file is cut; UNAVAILABLE if
  // the disk fails.
  virtual absl::Status Check(uint64_t offset, uint64_t length) = 0;
  // The bytes themselves, checked before. Only to be passed to the kernel, which reports an access
  // that fails: in this process it would raise SIGBUS.
  virtual absl::StatusOr<BlobSlice> Slice(uint64_t offset, uint64_t length) const = 0;
  // Copies bytes, checked before: [offset, offset + length) of what `slab` selects of the blob.
  // DATA_LOSS or UNAVAILABLE, as Check, if they cannot be read any more.
  virtual absl::Status Gather(const Slab& slab, uint64_t offset, uint64_t length,
                              char* to) const = 0;
  // nullopt: not in a file.
  virtual std::optional<FilePlace> File() const = 0;
};

// Is given bytes, in order, in pieces.
using TakeBytes = std::function<absl::Status(std::string_view)>;

// One blob on its way to disk. Destruction without Commit discards it and leaves nothing behind,
// unless it is one of Resume's. Used by one thread at a time.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  // Appends at the end, the parts in order. INVALID_ARGUMENT past the announced size;
  // RESOURCE_EXHAUSTED when the disk is full; ABORTED if another Resume goes on with the upload.
  virtual absl::Status Append(std::span<const std::string_view> parts) = 0;
  // Makes the blob durable under its key: bytes, then file, name and folder are synced.
  // INVALID_ARGUMENT if bytes are missing. May be called once.
  virtual absl::StatusOr<StoredBlob> Commit(const Digest& key) = 0;
  // What was written is not what was announced: nothing stays, of Resume's neither.
  virtual void Refuse() {}
};

// One small blob with all its bytes.
struct BlobBytes {
  BlobName name;
  std::string_view bytes;
};

// A blob that moves from one pack to another.
struct BlobToMove {
  BlobName name;
  uint64_t size = 0;
  std::string location;
  std::string checksums;
};

// All bytes of a blob, checked. For small ones.
absl::StatusOr<std::string> ReadAll(BlobReader& reader, uint64_t size);

// Told of packs before their names exist on disk, so that a crash leaves no file unaccounted for.
// Implemented over the job database.
class PackJournal {
 public:
  virtual ~PackJournal() = default;
  // Returns when a row for the pack (pending, or open for one that is appended to) is durable.
  virtual absl::Status Announce(std::string_view pack, bool open) = 0;
};

// What the index knew of a pack at start.
struct KnownPack {
  std::string name;
  bool pending = false;  // announced, and nothing in the index refers to it: remove what is there
  bool open = false;     // was appended to: read only from now on, to be sealed
};

struct BlobStoreStats {
  uint64_t packs = 0;         // files that were sealed since the start
  uint64_t open_bytes = 0;    // bytes in open packs
  uint64_t upload_bytes = 0;  // bytes reserved for uploads that can be resumed
};

// Threads: all methods may be called from any thread; they may block on the disk.
// Foreign exceptions do not leave it. A failed sync of a pack: nothing more is written to it, and
// what was not acknowledged from it is refused.
class BlobStore {
 public:
  virtual ~BlobStore() = default;

  // Brings the disk in line with what the index knew: removes what is pending, empties the folder
  // of temporary files. Called once, before anything else. The journal outlives the store.
  virtual absl::Status Start(PackJournal* journal, std::span<const KnownPack> packs) = 0;

  // Starts a blob of `size` bytes (= dtype × shape). The bytes of a blob below kSmallBlob are held
  // in memory until Commit, where they go as with Store.
  virtual absl::StatusOr<std::unique_ptr<BlobWriter>> Create(std::string_view dtype,
                                                             const Shape& shape, uint64_t size) = 0;

  // The same for a blob whose key is declared, of at least kSmallBlob: what was written outlives
  // the writer and this process, so that it need not come again, until it is committed, refused,
  // expires or gives way to others. `owner` keeps the uploads of those apart who must not go on
  // with one another's. The caller goes on at `offset`: what was there before it is told to
  // `before`, in order, in pieces; an error of it is returned, and what is there stays.
  // FAILED_PRECONDITION if fewer bytes are there. A writer of the same upload that still lives is
  // cut off, even if this is given up by `before`; with `offset` 0 it goes on, and this one cannot
  // be resumed.
  virtual absl::StatusOr<std::unique_ptr<BlobWriter>> Resume(std::string_view owner,
                                                             const BlobName& name, uint64_t size,
                                                             uint64_t offset,
                                                             const TakeBytes& before) = 0;
  // How many bytes of it are there; 0 if none.
  virtual uint64_t Received(std::string_view owner, const BlobName& name) = 0;
  // Whether a writer of it lives.
  virtual bool BeingWritten(std::string_view owner, const BlobName& name) = 0;

  // Makes many small blobs durable with one sync for each pack touched. All or none are returned;
  // after an error nothing refers to what may have been written. Each is below kSmallBlob.
  virtual absl::StatusOr<std::vector<StoredBlob>> Store(std::span<const BlobBytes> blobs) = 0;

  // A blob of `size` bytes, for reading. NOT_FOUND if the pack is gone (look the location up again:
  // it may have been sealed away); DATA_LOSS if it ends before the blob does.
  virtual absl::StatusOr<std::shared_ptr<BlobReader>> Open(const StoredBlob& blob,
                                                           uint64_t size) = 0;

  // Reads all of a blob from its pack, a checksum block at a time, whatever was checked before.
  // Each block that could be read goes to `on_block`, which ends it with an error. Returns what is
  // damaged, neighbours of one kind as one range. NOT_FOUND if the pack is gone.
  virtual absl::StatusOr<std::vector<DamagedRange>> Verify(
      const StoredBlob& blob, uint64_t size,
      const std::function<absl::Status(std::string_view bytes)>& on_block) = 0;
  // Where a location's bytes lie, the path below the data folder; nothing is looked at. nullopt:
  // not in a file.
  virtual std::optional<FilePlace> Locate(std::string_view location) = 0;

  // Takes a durable blob back that the index does not refer to (an equal one came first). Never
  // fails: what could not be removed is logged and left for the next start.
  virtual void Discard(const StoredBlob& blob) = 0;

  // Open packs that are full or from an earlier run; with `all`, also the one appended to now,
  // which is closed for that. Waits until no pin is on them: what they hold is in the index.
  virtual std::vector<std::string> PacksToSeal(bool all) = 0;

  // Copies the blobs (all from one pack) into a new sealed pack, typed datasets named by key, each
  // checked against its checksums on the way; announces and syncs it. Returns a location for each.
  // A blob whose bytes are damaged gets an empty location and stays where it is.
  virtual absl::StatusOr<std::vector<StoredBlob>> Seal(std::span<const BlobToMove> blobs) = 0;

  // A pack with damage in it is not sealed again; it stays for somebody to look at.
  virtual void SetAside(std::string_view pack) = 0;

  // Removes a pack that the index no longer refers to, durably. Readers that have it open finish.
  // After an error, which is logged, it may still be there.
  virtual absl::Status Drop(std::string_view pack) = 0;

  // Bytes of a pack on disk; NOT_FOUND if it is gone.
  virtual absl::StatusOr<uint64_t> PackBytes(std::string_view pack) = 0;
  // Puts a pack into another data folder, at its place there: the same file for a sealed one if the
  // file systems allow it, else a copy; of an open one at least what is acknowledged. Durable, with
  // the folders that it makes. `progress` is told the bytes so far, and may end it. NOT_FOUND if
  // the pack is gone.
  virtual absl::Status CopyPack(std::string_view pack, const std::filesystem::path& data,
                                const std::function<absl::Status(uint64_t)>& progress) = 0;
  // Removes uploads that nobody went on with for longer than they are kept.
  virtual void ExpireUploads() = 0;

  virtual BlobStoreStats Stats() const = 0;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_BLOB_STORE_H_
