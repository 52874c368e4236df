// Uploads that outlive their connection: DATA/uploads/ID.h5, the pack to be, and ID.at, which says
// how much of it has come.
#ifndef TIFFIN_SERVER_BLOBS_UPLOAD_FILES_H_
#define TIFFIN_SERVER_BLOBS_UPLOAD_FILES_H_

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/npy.h"
#include "server/blobs/blob_store.h"
#include "server/blobs/streamed_bytes.h"

namespace tiffin::server {

struct UploadLimits {
  std::chrono::seconds kept = std::chrono::hours(24);  // since the last byte came
  uint64_t quota = uint64_t{64} << 30;                 // bytes of all uploads
};

// One upload that somebody writes. Whoever holds its newest claim may.
struct UploadState {
  std::mutex mutex;  // guards all below
  uint64_t claim = 0;
  std::unique_ptr<StreamedBytes> bytes;  // null: not there, or complete
  std::unique_ptr<PackFile> progress;
};

// Threads: all methods may be called from any thread.
//
// What `.at` says is not synced: after a power cut it may tell of bytes that never reached the
// disk. The key, checked when the upload is complete, finds that; the upload is then refused, and
// sent from the front. So it does if HDF5's part of the file is damaged, which is looked at before.
class UploadFiles {
 public:
  UploadFiles(std::filesystem::path folder, UploadLimits limits)
      : folder_(std::move(folder)), limits_(limits) {}

  // Removes what is half made or expired.
  absl::Status Sweep();
  void Expire();

  // The right to write an upload, as long as it lives and no other has followed.
  struct Claim {
    std::string id;
    std::shared_ptr<UploadState> state;
    uint64_t number = 0;
  };
  // Claims the upload from `offset` on (see BlobStore::Resume). nullopt: it cannot be kept (another
  // writes it from the front just now, or the quota is used up).
  absl::StatusOr<std::optional<Claim>> Begin(std::string_view owner, const BlobName& name,
                                             uint64_t size, uint64_t offset,
                                             const TakeBytes& before);
  // Both fail with ABORTED if another claim has followed.
  absl::Status Append(const Claim& claim, std::span<const std::string_view> parts);
  // Syncs the complete file and gives it to `publish` to be renamed; `checksums` are then filled
  // in. If that fails before it has another name, the upload stays complete.
  absl::Status Complete(const Claim& claim,
                        const std::function<absl::Status(const std::filesystem::path&)>& publish,
                        uint64_t* base, std::string* checksums);
  // Nothing of it stays, unless another claim has followed.
  void Remove(const Claim& claim);
  // The call that writes it is over. If nothing has come yet, nothing stays: it would only take
  // space.
  void Leave(const Claim& claim);

  uint64_t Received(std::string_view owner, const BlobName& name);
  bool BeingWritten(std::string_view owner, const BlobName& name);
  // Of all uploads, reserved.
  uint64_t bytes() const;

 private:
  std::filesystem::path Pack(std::string_view id) const;
  std::filesystem::path Progress(std::string_view id) const;
  // Both fill in the state, whose mutex is held.
  absl::Status Make(const std::string& id, const BlobName& name, uint64_t size, UploadState& state);
  absl::Status Load(const std::string& id, const BlobName& name, uint64_t size, uint64_t offset,
                    const TakeBytes& before, UploadState& state);
  // Whether the quota has room for so many bytes of upload `own`, once the oldest of the others
  // that nobody writes are gone. Removes none if it has not.
  bool MakeRoomLocked(const std::string& own, uint64_t size);
  bool LiveLocked(const std::string& id) const;
  void RemoveFiles(const std::string& id);

  const std::filesystem::path folder_;
  const UploadLimits limits_;
  mutable std::mutex mutex_;  // guards what is below; taken before an UploadState's
  std::map<std::string, std::weak_ptr<UploadState>> live_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_UPLOAD_FILES_H_
