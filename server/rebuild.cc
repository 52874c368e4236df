#include "server/rebuild.h"

#include <algorithm>
#include <memory>
#include <system_error>
#include <utility>

#include "absl/time/clock.h"
#include "common/bulk.h"
#include "common/cbor.h"
#include "common/job.h"
#include "common/json.h"
#include "common/status.h"
#include "server/blobs/blob_store.h"
#include "server/blobs/hdf5_listing.h"
#include "server/blobs/pack_file.h"
#include "server/blobs/pack_folders.h"
#include "server/blobs/verify_blob.h"
#include "server/data_folder.h"
#include "server/jobs/sqlite_rebuild.h"

namespace tiffin::server {
namespace {

// Of what this server stored itself.
constexpr JsonLimits kOwnText = {.max_text_bytes = size_t{128} << 20,
                                 .max_nesting = kMaxJsonNesting,
                                 .max_entries = size_t{1} << 32,
                                 .max_integer_digits = size_t{16} << 20,
                                 .max_tree_bytes = size_t{4} << 30};

class FolderSource : public RebuildSource {
 public:
  FolderSource(const std::filesystem::path& data, std::ostream& out)
      : folders_(data, 0), out_(out) {}

  absl::Status ForEachPacked(const std::function<absl::Status(const PackedBlob&)>& blob) override {
    std::vector<std::filesystem::path> files;
    std::error_code error;
    const std::filesystem::path packs = folders_.data() / "packs";
    for (const auto& entry : std::filesystem::recursive_directory_iterator(packs, error)) {
      if (entry.path().extension() == ".h5") files.push_back(entry.path());
    }
    if (error) return absl::UnavailableError(StrCat(packs.string(), ": ", error.message()));
    std::sort(files.begin(), files.end());
    for (const std::filesystem::path& file : files) {
      const absl::StatusOr<std::vector<ListedDataset>> listed = ListHdf5File(file);
      if (!listed.ok()) {
        out_ << "not readable as HDF5: " << listed.status().message() << "\n";
        continue;
      }
      for (const ListedDataset& dataset : *listed) {
        const std::optional<PackedBlob> found = BlobOf(file.stem().string(), dataset);
        if (found) TIFFIN_RETURN_IF_ERROR(blob(*found));
      }
    }
    return absl::OkStatus();
  }

  std::optional<std::string> ChecksumsOf(const PackedBlob& blob) override {
    const absl::StatusOr<Place> place = Place::FromText(blob.location);
    if (!place.ok()) return std::nullopt;
    const auto file = PackFile::Open(folders_.PathOf(*place), false);
    if (!file.ok()) return std::nullopt;
    return ChecksumsOfKey(**file, blob.size == 0 ? 0 : place->offset, blob.size, blob.name);
  }

  bool JobIsSound(std::string_view record, const Digest& key) override {
    const absl::StatusOr<Value> value = ParseJson(record, kOwnText);
    if (!value.ok()) return false;
    const absl::StatusOr<Digest> found = JobKey(*value, {.allow_unversioned_main = true});
    return found.ok() && *found == key;
  }
  bool ResultIsSound(std::string_view record, const Digest& digest) override {
    const absl::StatusOr<Value> value = ParseJson(record, kOwnText);
    if (!value.ok()) return false;
    const absl::StatusOr<Digest> found = ResultDigest(*value);
    return found.ok() && *found == digest;
  }
  absl::StatusOr<std::vector<RecordRef>> RefsIn(std::string_view record) override {
    TIFFIN_ASSIGN_OR_RETURN(const Value value, ParseJson(record, kOwnText));
    return tiffin::RefsIn(value);
  }

 private:
  static std::optional<PackedBlob> BlobOf(const std::string& pack, const ListedDataset& dataset) {
    const std::string& name = dataset.spec.name;
    const absl::StatusOr<Digest> key = Digest::FromText(name.substr(0, name.find('#')));
    const absl::StatusOr<DType> dtype = ParseDType(dataset.spec.dtype);
    if (!key.ok() || !dtype.ok()) return std::nullopt;
    const absl::StatusOr<uint64_t> size = ArrayBytes(*dtype, dataset.spec.shape);
    if (!size.ok()) return std::nullopt;
    return PackedBlob{{*key, dataset.spec.dtype, dataset.spec.shape},
                      *size,
                      Place{pack, false, dataset.offset}.ToText()};
  }

  const PackFolders folders_;
  std::ostream& out_;
};

// The old files are kept under names that SQLite pairs as it did before. The database goes first:
// without it no server starts, while with it, but without its log, one would start with what was
// acknowledged last lost.
absl::Status Replace(const std::filesystem::path& data, const std::filesystem::path& rebuilt) {
  const std::string database = (data / "tiffin.db").string();
  const std::string kept = StrCat(
      database, ".damaged-", absl::FormatTime("%Y%m%dT%H%M%SZ", absl::Now(), absl::UTCTimeZone()));
  for (const char* suffix : {"", "-wal", "-shm", "-copying"}) {
    std::error_code error;
    std::filesystem::rename(database + suffix, kept + suffix, error);
    if (error && error != std::errc::no_such_file_or_directory) {
      return absl::UnavailableError(StrCat("keeping ", kept, suffix, ": ", error.message()));
    }
    TIFFIN_RETURN_IF_ERROR(SyncFolder(data));
  }
  return RenameDurably(rebuilt, database);
}

}  // namespace

absl::Status RebuildDatabase(const std::filesystem::path& data, bool allow_network,
                             std::ostream& out) {
  std::error_code error;
  if (!std::filesystem::is_directory(data / "packs", error)) {
    return absl::FailedPreconditionError(
        StrCat(data.string(), " is no data folder of tiffin: it has no packs/"));
  }
  TIFFIN_ASSIGN_OR_RETURN(const std::unique_ptr<DataFolder> folder,
                          DataFolder::Open(data, allow_network));
  const std::filesystem::path rebuilt = data / kRebuiltDatabase,
                              unfinished = data / "tiffin.db.rebuilding";
  if (!std::filesystem::exists(data / "tiffin.db", error) &&
      std::filesystem::exists(rebuilt, error)) {
    TIFFIN_RETURN_IF_ERROR(Replace(data, rebuilt));
    out << "a rebuild that was broken off is finished\n";
    return absl::OkStatus();
  }
  for (const char* suffix : {"", "-wal", "-shm", "-journal"}) {
    TIFFIN_RETURN_IF_ERROR(RemoveFile(unfinished.string() + suffix));
  }
  FolderSource source(data, out);
  TIFFIN_ASSIGN_OR_RETURN(const RebuildCounts counts,
                          RebuildSqliteDatabase(data / "tiffin.db", unfinished, source));
  {
    TIFFIN_ASSIGN_OR_RETURN(const std::unique_ptr<PackFile> file, PackFile::Open(unfinished, true));
    TIFFIN_RETURN_IF_ERROR(file->Sync());
  }
  TIFFIN_RETURN_IF_ERROR(RenameDurably(unfinished, rebuilt));  // whole from here on
  TIFFIN_RETURN_IF_ERROR(Replace(data, rebuilt));
  out << (counts.rows_damaged ? "some rows of the old database could not be read\n" : "") << "jobs "
      << counts.jobs << ", lost " << counts.lost_jobs << "\nresults " << counts.results << ", lost "
      << counts.lost_results << " (misses now)\nblobs " << counts.blobs << ", of which "
      << counts.found << " were found in packs only and " << counts.damaged_blobs
      << " are damaged\n";
  return absl::OkStatus();
}

}  // namespace tiffin::server
