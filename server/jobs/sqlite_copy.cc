#include "server/jobs/sqlite_copy.h"

#include <SQLiteCpp/Backup.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/status.h"
#include "common/strings.h"
#include "server/jobs/file_status.h"
#include "server/jobs/sqlite_connection.h"
#include "server/jobs/sqlite_reader.h"

namespace tiffin::server {
namespace {

constexpr int kPages = 256;  // of one step

// Here, and not by SQLite, which would not say why it could not.
absl::Status MakeFile(const std::filesystem::path& file) {
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  const int error = errno;
  if (fd >= 0 && ::close(fd) == 0) return absl::OkStatus();
  return FileStatus(error, "making", file.string());
}

absl::Status CopyPages(
    SQLite::Database& source, SQLite::Database& copy, uint64_t page_bytes,
    const std::function<absl::Status(uint64_t bytes, uint64_t total)>& progress) {
  SQLite::Backup backup(copy, source);
  while (backup.executeStep(kPages) != SQLITE_DONE) {
    const auto total = static_cast<uint64_t>(backup.getTotalPageCount());
    const auto left = static_cast<uint64_t>(backup.getRemainingPageCount());
    TIFFIN_RETURN_IF_ERROR(
        progress((total - std::min(left, total)) * page_bytes, total * page_bytes));
  }
  const auto total = static_cast<uint64_t>(backup.getTotalPageCount()) * page_bytes;
  return progress(total, total);
}

absl::StatusOr<std::vector<PackUse>> Copy(
    const SqliteJobDatabaseOptions& options, const std::filesystem::path& file,
    const std::function<absl::Status(uint64_t bytes, uint64_t total)>& progress) {
  SqliteConnection source(options, SqliteConnection::Role::kReader);
  source.Configure(options.reader_cache_kib);
  SqliteReader reader(&source);
  std::vector<PackUse> packs;
  const absl::Status status = source.Guard("copying the database", [&]() -> absl::Status {
    // In one snapshot: a copy that sees changes begins anew, for ever if there are always some.
    source.Run("BEGIN");
    TIFFIN_ASSIGN_OR_RETURN(packs, reader.PackUses());
    const auto page =
        static_cast<uint64_t>(source.database().execAndGet("PRAGMA page_size").getInt64());
    TIFFIN_RETURN_IF_ERROR(MakeFile(file));
    SQLite::Database copy(file.string(), SQLite::OPEN_READWRITE);
    try {
      // A copy that fails is removed, and one that is whole is synced by its maker.
      copy.exec("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF");
      return CopyPages(source.database(), copy, page, progress);
    } catch (const SQLite::Exception& error) {
      // What the system said, the copy knows.
      return SqliteStatus(copy.getHandle(), error, StrCat("writing ", file.string()));
    }
  });
  if (source.InTransaction()) source.database().tryExec("ROLLBACK");
  TIFFIN_RETURN_IF_ERROR(status);
  return packs;
}

}  // namespace

absl::StatusOr<std::vector<PackUse>> CopySqliteDatabase(
    const SqliteJobDatabaseOptions& options, const std::filesystem::path& file,
    const std::function<absl::Status(uint64_t bytes, uint64_t total)>& progress) {
  try {
    return Copy(options, file, progress);
  } catch (const SQLite::Exception& error) {  // from opening the source
    return absl::UnavailableError(absl::StrCat("copying the database: ", error.what()));
  }
}

}  // namespace tiffin::server
