// A new database from what can be read of a damaged one and from what the packs hold. Offline.
#ifndef TIFFIN_SERVER_JOBS_SQLITE_REBUILD_H_
#define TIFFIN_SERVER_JOBS_SQLITE_REBUILD_H_

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/record.h"
#include "server/jobs/job_database.h"

namespace tiffin::server {

// A blob that a pack tells of.
struct PackedBlob {
  BlobName name;
  uint64_t size = 0;
  std::string location;
};

// What a rebuild asks of packs and records.
class RebuildSource {
 public:
  virtual ~RebuildSource() = default;
  // Every blob that sealed packs tell of; what cannot be read is left out.
  virtual absl::Status ForEachPacked(
      const std::function<absl::Status(const PackedBlob&)>& blob) = 0;
  // Reads its bytes: their checksums; nullopt if they do not have its key, or cannot be read.
  virtual std::optional<std::string> ChecksumsOf(const PackedBlob& blob) = 0;
  virtual bool JobIsSound(std::string_view record, const Digest& key) = 0;
  virtual bool ResultIsSound(std::string_view record, const Digest& digest) = 0;
  virtual absl::StatusOr<std::vector<RecordRef>> RefsIn(std::string_view record) = 0;
};

struct RebuildCounts {
  bool rows_damaged = false;  // of the old database, some could not be read
  int64_t jobs = 0, results = 0, blobs = 0;
  int64_t found = 0;          // of the blobs, those that only the packs told of
  int64_t damaged_blobs = 0;  // set aside
  int64_t lost_jobs = 0;      // whose row, record and key do not agree
  int64_t lost_results = 0;   // that became misses: not readable, or a blob of theirs is gone
};

// Writes the new database to `to`, which must not exist. `from` may be absent. Blobs that no
// namespace is known to see are shown to `default`.
absl::StatusOr<RebuildCounts> RebuildSqliteDatabase(const std::filesystem::path& from,
                                                    const std::filesystem::path& to,
                                                    RebuildSource& source);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_SQLITE_REBUILD_H_
