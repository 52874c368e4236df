// Packs mapped for reading, and the blobs in them.
#ifndef TIFFIN_SERVER_BLOBS_MAPPED_PACK_H_
#define TIFFIN_SERVER_BLOBS_MAPPED_PACK_H_

#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "server/blobs/blob_store.h"

namespace tiffin::server {

// One file, mapped whole. Remembers which checksum blocks were checked since.
// Threads: all methods may be called from any thread.
class MappedPack {
 public:
  // NOT_FOUND if it is not there.
  static absl::StatusOr<std::shared_ptr<MappedPack>> Open(const std::filesystem::path& path);
  ~MappedPack();
  MappedPack(const MappedPack&) = delete;
  MappedPack& operator=(const MappedPack&) = delete;

  const std::filesystem::path& path() const { return path_; }
  // Touch it in the kernel or Guarded only.
  const char* data() const { return data_; }
  uint64_t size() const { return size_; }

  // Whether blocks [first, last] of the blob at `offset` were marked.
  bool Checked(uint64_t offset, uint64_t first, uint64_t last) const;
  void MarkChecked(uint64_t offset, uint64_t block);

 private:
  MappedPack(std::filesystem::path path, const char* data, uint64_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  const std::filesystem::path path_;
  const char* const data_;
  const uint64_t size_;
  mutable std::mutex mutex_;  // guards what is below
  absl::flat_hash_map<uint64_t, std::vector<bool>> checked_;
};

// A blob of `size` bytes at `offset` of the pack; DATA_LOSS if the pack ends before it.
absl::StatusOr<std::shared_ptr<BlobReader>> ReadBlobIn(std::shared_ptr<MappedPack> pack,
                                                       bool sealed, uint64_t offset, uint64_t size,
                                                       std::string checksums);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_MAPPED_PACK_H_
