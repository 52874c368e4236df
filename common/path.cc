#include "common/path.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "common/json.h"
#include "common/strings.h"
#include "common/utf8.h"

namespace tiffin {
namespace {

constexpr size_t kMaxName = 64;
constexpr size_t kMaxPath = 1000;
constexpr std::string_view kCut = "...";

bool IsIdentifier(std::string_view name) {
  if (name.empty() || absl::ascii_isdigit(static_cast<unsigned char>(name[0]))) return false;
  for (char c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '_') return false;
  }
  return true;
}

// True if there is room for more; marks the path as cut if not.
bool HasRoom(std::string* path) {
  if (path->size() < kMaxPath) return true;
  if (!path->ends_with(kCut)) *path += kCut;
  return false;
}

}  // namespace

void AppendMember(std::string_view name, std::string* path) {
  if (!HasRoom(path)) return;
  const std::string shown = CutUtf8(name, kMaxName);
  if (IsIdentifier(name) && shown.size() == name.size()) {
    if (!path->empty()) path->push_back('.');
    *path += shown;
    return;
  }
  path->push_back('[');
  AppendJsonString(shown, {}, path);
  path->push_back(']');
}

void AppendItem(size_t index, std::string* path) {
  if (HasRoom(path)) StrAppend(path, "[", index, "]");
}

Path Path::Member(std::string_view name) const {
  Path path = *this;
  AppendMember(name, &path.text_);
  return path;
}

Path Path::Item(size_t index) const {
  Path path = *this;
  AppendItem(index, &path.text_);
  return path;
}

std::string PathLink::text() const {
  std::vector<const PathLink*> links;
  for (const PathLink* link = this; link->parent_ != nullptr; link = link->parent_) {
    links.push_back(link);
  }
  std::string path;
  for (auto link = links.rbegin(); link != links.rend(); ++link) {
    if ((*link)->is_member_) {
      AppendMember((*link)->name_, &path);
    } else {
      AppendItem((*link)->index_, &path);
    }
  }
  return path;
}

}  // namespace tiffin
