// A consistent copy of the data folder while the server goes on.
#ifndef TIFFIN_SERVER_BACKUP_H_
#define TIFFIN_SERVER_BACKUP_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "server/blobs/blob_store.h"
#include "server/jobs/job_database.h"
#include "server/service/backups.h"
#include "server/store/blob_catalogue.h"

namespace tiffin::server {

// Copies go to folders of their own below `root`. Threads: all methods may be called from any
// thread.
class FolderBackups : public Backups {
 public:
  // Makes the folder if absent, and removes what an earlier run left unfinished. All outlive it.
  static absl::StatusOr<std::unique_ptr<FolderBackups>> Open(const std::filesystem::path& root,
                                                             JobDatabase* database,
                                                             BlobStore* bytes,
                                                             BlobCatalogue* blobs);

  // Rows first, then the packs that they refer to: all are there, since none is removed meanwhile.
  // Sealed packs are linked where the file system can, so that they cost nothing. Synced before it
  // gets its name.
  absl::StatusOr<std::string> Make(std::string_view name, const Progress& progress) override;

 private:
  FolderBackups(std::filesystem::path root, JobDatabase* database, BlobStore* bytes,
                BlobCatalogue* blobs)
      : root_(std::move(root)), database_(database), bytes_(bytes), blobs_(blobs) {}
  absl::Status Fill(const std::filesystem::path& folder, const Progress& progress);

  const std::filesystem::path root_;
  JobDatabase* const database_;
  BlobStore* const bytes_;
  BlobCatalogue* const blobs_;
  std::mutex mutex_;  // one at a time
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BACKUP_H_
