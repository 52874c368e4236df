// One Deref: which bytes of a blob go out, in pieces, and whether the next one is at hand.
#ifndef TIFFIN_SERVER_STORE_BLOB_DOWNLOAD_H_
#define TIFFIN_SERVER_STORE_BLOB_DOWNLOAD_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/slab.h"
#include "server/store/blob_catalogue.h"

namespace tiffin::server {

struct DownloadRange {
  std::optional<std::vector<SlabDimension>> slab;  // absent: all of the array
  bool npy = false;                                // with the header of an `.npy` file
  uint64_t offset = 0;                             // of what the above gives
  std::optional<uint64_t> limit;
};

// Used by one thread at a time.
class BlobDownload {
 public:
  // INVALID_ARGUMENT or OUT_OF_RANGE naming the member; DATA_LOSS if the blob is damaged.
  static absl::StatusOr<std::unique_ptr<BlobDownload>> Make(BlobCatalogue* blobs, BlobView blob,
                                                            const DownloadRange& range,
                                                            IfDamaged if_damaged);

  const BlobView& blob() const { return blob_; }
  const Shape& shape() const { return slab_.shape(); }
  // Bytes that go out in all.
  uint64_t length() const { return end_ - begin_; }
  bool done() const { return at_ == end_; }
  // Where the whole blob lies in a sealed file; nullopt if it does not, or a part was asked for.
  std::optional<FilePlace> File() const;

  // Whether Next neither waits for the disk nor copies much: it may then be called on any thread.
  bool AtHand() const;
  // The next piece, brought in and checked: long runs as they lie in the mapping, short ones
  // gathered. 1 MiB, or what is left; less once `stop` is set. DATA_LOSS if it is damaged: once
  // that is reported, whoever asks for the blob hears so.
  absl::StatusOr<std::vector<BlobSlice>> Next(IfDamaged if_damaged, const std::atomic<bool>& stop);

 private:
  BlobDownload(BlobCatalogue* blobs, BlobView blob, std::shared_ptr<BlobReader> reader, Slab slab)
      : blobs_(blobs), blob_(std::move(blob)), reader_(std::move(reader)), slab_(std::move(slab)) {}
  // Where the next piece begins in the selection; its bytes of that, which come after what is left
  // of the header.
  uint64_t Selected() const;
  uint64_t PieceBytes() const;
  // Calls `look(offset, length)`, in the blob, for runs of the selection's bytes [begin, begin +
  // bytes), but for those in the checksum block of the one before, until it returns false. Returns
  // how many bytes it has passed.
  template <typename Look>
  uint64_t ForBlocks(uint64_t begin, uint64_t bytes, Look&& look) const;
  absl::StatusOr<std::vector<BlobSlice>> Bring(const std::atomic<bool>& stop);
  absl::Status Gather(std::string* to, const std::atomic<bool>& stop);
  absl::Status SliceRuns(std::vector<BlobSlice>* to);

  BlobCatalogue* const blobs_;
  const BlobView blob_;
  const std::shared_ptr<BlobReader> reader_;
  const Slab slab_;
  bool part_ = false;
  bool sends_runs_ = false;                // they are long
  std::string header_;                     // of the `.npy` file
  uint64_t begin_ = 0, at_ = 0, end_ = 0;  // counted from the header's first byte
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_STORE_BLOB_DOWNLOAD_H_
