// Where packs lie below DATA, and those mapped for reading.
#ifndef TIFFIN_SERVER_BLOBS_PACK_FOLDERS_H_
#define TIFFIN_SERVER_BLOBS_PACK_FOLDERS_H_

#include <filesystem>
#include <list>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>

#include "absl/status/statusor.h"
#include "server/blobs/mapped_pack.h"
#include "server/blobs/pack_file.h"

namespace tiffin::server {

// A location: `<pack>:<s|o>:<offset of the bytes in the file>`.
struct Place {
  std::string pack;
  bool open = false;
  uint64_t offset = 0;

  std::string ToText() const;
  static absl::StatusOr<Place> FromText(std::string_view location);
};

// Threads: all methods may be called from any thread.
class PackFolders {
 public:
  PackFolders(std::filesystem::path data, size_t max_mapped)
      : data_(std::move(data)), max_mapped_(max_mapped) {}

  absl::Status Make();
  // Empties tmp/.
  absl::Status Sweep();

  std::filesystem::path Temporary(std::string_view pack) const;
  std::filesystem::path Open(std::string_view pack) const;
  std::filesystem::path Sealed(std::string_view pack) const;
  std::filesystem::path PathOf(const Place& place) const {
    return place.open ? Open(place.pack) : Sealed(place.pack);
  }
  const std::filesystem::path& data() const { return data_; }
  std::filesystem::path Uploads() const { return data_ / "uploads"; }
  // Moves a synced file to its place, durably.
  absl::Status Publish(const std::filesystem::path& from, std::string_view pack, bool open);
  // Removes the file, durably; OK if there is none.
  absl::Status Remove(std::string_view pack);
  // Of the file, sealed or open. NOT_FOUND if it is gone.
  absl::StatusOr<uint64_t> BytesOf(std::string_view pack) const;

  // A pack for reading, kept mapped for the next one. NOT_FOUND if it is gone.
  absl::StatusOr<std::shared_ptr<MappedPack>> Reader(const Place& place);

 private:
  void Forget(const std::string& pack);
  // Makes it if absent, and its name durable: once for each start, since a folder that is there may
  // have been made by a server that was killed before the sync.
  absl::Status EnsureFolder(const std::filesystem::path& folder);

  const std::filesystem::path data_;
  const size_t max_mapped_;
  std::mutex mutex_;  // guards what is below
  using Entry = std::pair<std::string, std::shared_ptr<MappedPack>>;
  std::set<std::string> made_;  // folders whose names are durable
  std::list<Entry> packs_;      // the latest used first
  std::unordered_map<std::string, std::list<Entry>::iterator> by_pack_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_PACK_FOLDERS_H_
