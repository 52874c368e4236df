#include "server/blobs/pack_folders.h"

#include <charconv>

#include "common/status.h"

namespace tiffin::server {

std::string Place::ToText() const { return StrCat(pack, open ? ":o:" : ":s:", offset); }

absl::StatusOr<Place> Place::FromText(std::string_view location) {
  const size_t colon = location.find(':');
  Place place;
  if (colon != std::string_view::npos && location.size() > colon + 3 && location[colon + 2] == ':') {
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
  for (const char* name : {"packs", "open", "tmp"}) {
    TIFFIN_RETURN_IF_ERROR(MakeFolder(data_ / name));
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

absl::Status PackFolders::Publish(std::string_view pack, bool open) {
  const std::filesystem::path to = open ? Open(pack) : Sealed(pack);
  TIFFIN_RETURN_IF_ERROR(MakeFolder(to.parent_path()));
  return RenameDurably(Temporary(pack), to);
}

absl::Status PackFolders::Remove(std::string_view pack) {
  {
    std::lock_guard lock(mutex_);
    if (auto it = by_pack_.find(std::string(pack)); it != by_pack_.end()) {
      files_.erase(it->second);
      by_pack_.erase(it);
    }
  }
  for (const auto& path : {Temporary(pack), Open(pack), Sealed(pack)}) {
    TIFFIN_RETURN_IF_ERROR(RemoveFile(path));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const PackFile>> PackFolders::Reader(const Place& place) {
  {
    std::lock_guard lock(mutex_);
    if (auto it = by_pack_.find(place.pack); it != by_pack_.end()) {
      files_.splice(files_.begin(), files_, it->second);
      return it->second->second;
    }
  }
  TIFFIN_ASSIGN_OR_RETURN(std::shared_ptr<const PackFile> file,
                          PackFile::Open(place.open ? Open(place.pack) : Sealed(place.pack), false));
  std::lock_guard lock(mutex_);
  if (by_pack_.contains(place.pack)) return file;  // another reader was first
  files_.emplace_front(place.pack, file);
  by_pack_[place.pack] = files_.begin();
  if (files_.size() > max_open_files_) {
    by_pack_.erase(files_.back().first);
    files_.pop_back();
  }
  return file;
}

}  // namespace tiffin::server
