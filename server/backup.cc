#include "server/backup.h"

#include <spdlog/spdlog.h>

#include <system_error>
#include <utility>
#include <vector>

#include "common/status.h"
#include "server/blobs/pack_file.h"
#include "server/store/damaged.h"

namespace tiffin::server {
namespace {

constexpr std::string_view kPartial = ".partial";  // `.NAME.partial`: not finished

absl::Status CheckName(std::string_view name) {
  if (!name.empty() && name.size() <= 200 && name[0] != '.' &&
      name.find_first_of(std::string_view("/\0", 2)) == std::string_view::npos) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      "name: a plain file name of at most 200 bytes is needed, not beginning with '.'");
}

void RemoveAll(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  if (error) spdlog::warn("event=backup note=\"{} stays: {}\"", folder.string(), error.message());
}

}  // namespace

absl::StatusOr<std::unique_ptr<FolderBackups>> FolderBackups::Open(
    const std::filesystem::path& root, JobDatabase* database, BlobStore* bytes,
    BlobCatalogue* blobs) {
  std::error_code error;
  std::filesystem::create_directories(root, error);
  if (!error) {
    for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with('.') && name.ends_with(kPartial)) RemoveAll(entry.path());
    }
  }
  if (error) {
    return absl::FailedPreconditionError(
        StrCat("--backups ", root.string(), ": ", error.message()));
  }
  return std::unique_ptr<FolderBackups>(
      new FolderBackups(std::filesystem::absolute(root), database, bytes, blobs));
}

absl::StatusOr<std::string> FolderBackups::Make(std::string_view name, const Progress& progress) {
  TIFFIN_RETURN_IF_ERROR(CheckName(name));
  const std::unique_lock one(mutex_, std::try_to_lock);
  if (!one) return absl::AbortedError("another Backup is running");
  const std::filesystem::path done = root_ / std::string(name);
  const std::filesystem::path partial = root_ / StrCat(".", name, kPartial);
  std::error_code error;
  if (std::filesystem::exists(std::filesystem::symlink_status(done, error))) {
    return absl::AlreadyExistsError(StrCat("name: ", done.string(), " is there"));
  }
  RemoveAll(partial);
  absl::Status status = MakeFolder(partial);
  if (status.ok()) status = Fill(partial, progress);
  if (status.ok()) status = RenameDurably(partial, done);
  if (!status.ok()) {
    RemoveAll(partial);
    RemoveAll(done);  // named, but not for sure: the next try makes it anew
    return Annotate(status, StrCat("copying to ", done.string()));
  }
  spdlog::info("event=backup path=\"{}\"", done.string());
  return done.string();
}

absl::Status FolderBackups::Fill(const std::filesystem::path& folder, const Progress& progress) {
  const auto hold = blobs_->HoldPacks();
  const auto tell = [&](uint64_t bytes, uint64_t total) {
    return progress(bytes, total) ? absl::OkStatus()
                                  : absl::CancelledError("nobody listens any more");
  };
  const std::filesystem::path file = folder / "tiffin.db";
  uint64_t rows = 0;
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<PackUse> uses,
                          database_->CopyTo(file, [&](uint64_t bytes, uint64_t total) {
                            rows = total;
                            return tell(bytes, total);
                          }));
  uint64_t total = rows, bytes = rows;
  std::vector<std::pair<std::string, uint64_t>> packs;
  for (const PackUse& use : uses) {
    std::string pack(WithoutDamage(use.pack));
    // A pack that is gone is damage that the copy will have, too.
    const uint64_t size = bytes_->PackBytes(pack).value_or(0);
    total += size;
    packs.emplace_back(std::move(pack), size);
  }
  for (const auto& [pack, size] : packs) {
    TIFFIN_RETURN_IF_ERROR(tell(bytes, total));
    const absl::Status status = bytes_->CopyPack(
        pack, folder, [&](uint64_t of_pack) { return tell(bytes + of_pack, total); });
    if (!status.ok() && !absl::IsNotFound(status)) return status;
    bytes += size;
  }
  TIFFIN_RETURN_IF_ERROR(tell(bytes, total));
  TIFFIN_ASSIGN_OR_RETURN(const std::unique_ptr<PackFile> copied, PackFile::Open(file, true));
  TIFFIN_RETURN_IF_ERROR(copied->Sync());
  return SyncFolder(folder);
}

}  // namespace tiffin::server
