#include "server/blobs/pack_folders.h"

#include <charconv>

#include "common/status.h"

namespace tiffin::server {

std::string Place::ToText() const { return StrCat(pack, open ? ":o:" : ":s:", offset); }

absl::StatusOr<Place> Place::FromText(std::string_view location) {
  const size_t colon = location.find(':');
  Place place;
  if (colon != std::string_view::npos && location.size() > colon + 3 &&
      location[colon + 2] == ':') {
    place.pack = std::string(location.substr(0, colon));
    place.open = location[colon + 1] == 'o';
    const std::string_view digits = location.substr(colon + 3);
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), place.offset);
    if (error == std::errc() && end == digits.data() + digits.size()) return place;
  }
  return absl::DataLossError(StrCat("the index has the location '", location, "'"));
}

absl::Status PackFolders::Make() {
  for (const char* name : {"packs", "open", "tmp", "uploads"}) {
    TIFFIN_RETURN_IF_ERROR(EnsureFolder(data_ / name));
  }
  return absl::OkStatus();
}

absl::Status PackFolders::Sweep() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(data_ / "tmp", error)) {
    TIFFIN_RETURN_IF_ERROR(RemoveFile(entry.path()));
  }
  if (error) return absl::InternalError(StrCat("reading ", (data_ / "tmp").string()));
  return absl::OkStatus();
}

std::filesystem::path PackFolders::Temporary(std::string_view pack) const {
  return data_ / "tmp" / StrCat(pack, ".h5");
}
std::filesystem::path PackFolders::Open(std::string_view pack) const {
  return data_ / "open" / StrCat(pack, ".h5");
}
std::filesystem::path PackFolders::Sealed(std::string_view pack) const {
  return data_ / "packs" / std::string(pack.substr(0, 2)) / StrCat(pack, ".h5");
}

absl::Status PackFolders::Publish(const std::filesystem::path& from, std::string_view pack,
                                  bool open) {
  const std::filesystem::path to = open ? Open(pack) : Sealed(pack);
  TIFFIN_RETURN_IF_ERROR(EnsureFolder(to.parent_path()));
  return RenameDurably(from, to);
}

absl::Status PackFolders::EnsureFolder(const std::filesystem::path& folder) {
  {
    std::lock_guard lock(mutex_);
    if (made_.contains(folder.string())) return absl::OkStatus();
  }
  TIFFIN_RETURN_IF_ERROR(MakeFolder(folder));
  std::lock_guard lock(mutex_);
  made_.insert(folder.string());
  return absl::OkStatus();
}

absl::Status PackFolders::Remove(std::string_view pack) {
  absl::Status status;
  for (const auto& path : {Temporary(pack), Open(pack), Sealed(pack)}) {
    status.Update(RemoveFile(path));
  }
  // Its row goes next: a file that came back after a power cut would be known to nobody. Also if it
  // was gone before, for whoever removed it may have been killed.
  for (const auto& folder : {Open(pack).parent_path(), Sealed(pack).parent_path()}) {
    const absl::Status synced = SyncFolder(folder);
    if (!absl::IsNotFound(synced)) status.Update(synced);
  }
  Forget(std::string(pack));  // after the names are gone, see Reader
  return status;
}

absl::StatusOr<uint64_t> PackFolders::BytesOf(std::string_view pack) const {
  for (const auto& path : {Sealed(pack), Open(pack)}) {
    std::error_code error;
    const uintmax_t bytes = std::filesystem::file_size(path, error);
    if (!error) return bytes;
  }
  return absl::NotFoundError(StrCat("no pack ", pack));
}

void PackFolders::Forget(const std::string& pack) {
  std::lock_guard lock(mutex_);
  if (auto it = by_pack_.find(pack); it != by_pack_.end()) {
    packs_.erase(it->second);
    by_pack_.erase(it);
  }
}

absl::StatusOr<std::shared_ptr<MappedPack>> PackFolders::Reader(const Place& place) {
  {
    std::lock_guard lock(mutex_);
    if (auto it = by_pack_.find(place.pack); it != by_pack_.end()) {
      packs_.splice(packs_.begin(), packs_, it->second);
      return it->second->second;
    }
  }
  const std::filesystem::path path = PathOf(place);
  TIFFIN_ASSIGN_OR_RETURN(std::shared_ptr<MappedPack> pack, MappedPack::Open(path));
  {
    std::lock_guard lock(mutex_);
    // Another reader was first: what it has checked is remembered there.
    if (auto it = by_pack_.find(place.pack); it != by_pack_.end()) return it->second->second;
    packs_.emplace_front(place.pack, pack);
    by_pack_[place.pack] = packs_.begin();
    if (packs_.size() > max_mapped_) {
      by_pack_.erase(packs_.back().first);
      packs_.pop_back();
    }
  }
  // Removed since it was opened: a mapping that is kept would keep its space, too.
  std::error_code error;
  if (!std::filesystem::exists(path, error)) Forget(place.pack);
  return pack;
}

}  // namespace tiffin::server
