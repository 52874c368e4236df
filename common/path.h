// Where in a value something is, for messages: `arguments[3].data`, `["a b"].x`.
#ifndef TIFFIN_COMMON_PATH_H_
#define TIFFIN_COMMON_PATH_H_

#include <cstddef>
#include <string>
#include <string_view>

namespace tiffin {

// Adds a member or an item to a path's text. Long names are cut; a path of more than about a
// thousand bytes ends in "..." (statuses travel in gRPC's trailers, which take 8 KiB).
void AppendMember(std::string_view name, std::string* path);
void AppendItem(size_t index, std::string* path);

// A path that owns its text. Empty for the value itself.
class Path {
 public:
  Path Member(std::string_view name) const;
  Path Item(size_t index) const;
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

// A path for walking through large values: a link to where the walk came from, written out only
// when there is something to report. It must not outlive what it links to, or the name.
class PathLink {
 public:
  PathLink() = default;
  PathLink(const PathLink& parent, std::string_view name)
      : parent_(&parent), name_(name), is_member_(true) {}
  PathLink(const PathLink& parent, size_t index) : parent_(&parent), index_(index) {}

  std::string text() const;

 private:
  const PathLink* parent_ = nullptr;
  std::string_view name_;
  size_t index_ = 0;
  bool is_member_ = false;
};

}  // namespace tiffin

#endif  // TIFFIN_COMMON_PATH_H_
