// DATA: made if absent, and owned by one server.
#ifndef TIFFIN_SERVER_DATA_FOLDER_H_
#define TIFFIN_SERVER_DATA_FOLDER_H_

#include <cstdint>
#include <filesystem>
#include <memory>

#include "absl/status/statusor.h"

namespace tiffin::server {

// The whole outcome of a rebuild, synced, until it takes the place of tiffin.db.
inline constexpr char kRebuiltDatabase[] = "tiffin.db.rebuilt";

// Holds DATA/LOCK until it is destroyed, or the process ends however it ends.
class DataFolder {
 public:
  // FAILED_PRECONDITION, saying what to do, if another server owns it; if it cannot be written; if
  // it holds something else than tiffin's files; if it lies on a network file system (unless
  // `network` allows it), where neither locks nor the log of the database can be relied on.
  static absl::StatusOr<std::unique_ptr<DataFolder>> Open(const std::filesystem::path& folder,
                                                          bool network = false);
  ~DataFolder();
  DataFolder(const DataFolder&) = delete;
  DataFolder& operator=(const DataFolder&) = delete;

  // FAILED_PRECONDITION if there are packs, or the outcome of a rebuild, but no database: a new one
  // would know none of them. Removes that outcome if there is a database, which will be newer.
  absl::Status CheckDatabase() const;

  const std::filesystem::path& path() const { return path_; }

 private:
  DataFolder(std::filesystem::path path, int lock, int itself)
      : path_(std::move(path)), lock_(lock), itself_(itself) {}

  const std::filesystem::path path_;
  const int lock_, itself_;  // descriptors that hold the locks
};

// Of a network file system, by its number in statfs(2); nullptr: it is none that is known.
const char* NetworkFileSystem(int64_t type);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_DATA_FOLDER_H_
