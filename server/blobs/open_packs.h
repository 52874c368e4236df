// The packs that small blobs are appended to.
#ifndef TIFFIN_SERVER_BLOBS_OPEN_PACKS_H_
#define TIFFIN_SERVER_BLOBS_OPEN_PACKS_H_

#include <condition_variable>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/blobs/blob_store.h"
#include "server/blobs/pack_folders.h"

namespace tiffin::server {

// One HDF5 file of fixed metadata with room for `capacity` bytes at `base`.
struct OpenPack {
  std::string name;
  std::unique_ptr<PackFile> file;
  uint64_t base = 0, capacity = 0;
  uint64_t used = 0, blobs = 0;
  int pins = 0;
  uint64_t written = 0, synced = 0;  // appends that finished, and how many of them a sync covers
  bool syncing = false;
  bool failed = false;  // a write or sync failed: nothing more goes here
};

// Threads: all methods may be called from any thread.
class OpenPacks {
 public:
  OpenPacks(PackFolders* folders, uint64_t pack_bytes)
      : folders_(folders), pack_bytes_(pack_bytes) {}

  void Start(PackJournal* journal, std::vector<std::string> left_open);
  // Appends and syncs: one sync serves all who appended before it began.
  absl::StatusOr<std::vector<StoredBlob>> Append(std::span<const BlobBytes> blobs);
  std::vector<std::string> ToSeal(bool all);
  void Forget(std::string_view pack);
  uint64_t bytes() const;

 private:
  absl::StatusOr<std::shared_ptr<OpenPack>> Make();
  absl::Status MakeFile(OpenPack& pack);
  // The pack to append `bytes` to, with room for them reserved at `*at`, pinned once.
  absl::StatusOr<std::shared_ptr<OpenPack>> Room(uint64_t bytes, uint64_t* at);
  absl::Status Sync(const std::shared_ptr<OpenPack>& pack, uint64_t until);
  std::shared_ptr<const void> Pin(const std::shared_ptr<OpenPack>& pack);

  PackFolders* const folders_;
  const uint64_t pack_bytes_;
  PackJournal* journal_ = nullptr;
  std::mutex make_mutex_;     // one pack is made at a time; taken before mutex_
  mutable std::mutex mutex_;  // guards all below, and the packs but their files
  std::condition_variable synced_, unpinned_;
  std::shared_ptr<OpenPack> current_;
  std::vector<std::shared_ptr<OpenPack>> full_;
  std::vector<std::string> left_open_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_OPEN_PACKS_H_
