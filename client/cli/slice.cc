#include "client/cli/slice.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

constexpr SliceItem kWhole{};

absl::Status Malformed(std::string_view item, std::string_view why) {
  return absl::InvalidArgumentError(StrCat("slice '", item, "': ", why));
}

absl::StatusOr<uint64_t> ParseBound(std::string_view text, std::string_view item) {
  uint64_t value = 0;
  if (text.starts_with('-')) return Malformed(item, "negative numbers are not supported");
  if (!absl::SimpleAtoi(ToAbsl(text), &value)) return Malformed(item, "not a number");
  return value;
}

absl::StatusOr<SliceItem> ParseItem(std::string_view text) {
  SliceItem item;
  if (text == "...") {
    item.kind = SliceItem::Kind::kEllipsis;
    return item;
  }
  const std::vector<std::string> parts = absl::StrSplit(ToAbsl(text), ':');
  if (parts.size() > 3) return Malformed(text, "more than two colons");
  if (parts.size() == 1) {
    item.kind = SliceItem::Kind::kIndex;
    TIFFIN_ASSIGN_OR_RETURN(item.start, ParseBound(text, text));
    return item;
  }
  if (!parts[0].empty()) {
    TIFFIN_ASSIGN_OR_RETURN(item.start, ParseBound(parts[0], text));
  }
  if (!parts[1].empty()) {
    TIFFIN_ASSIGN_OR_RETURN(item.stop, ParseBound(parts[1], text));
  }
  if (parts.size() == 3 && !parts[2].empty()) {
    TIFFIN_ASSIGN_OR_RETURN(item.step, ParseBound(parts[2], text));
    if (item.step == 0) return Malformed(text, "a step of 0");
  }
  return item;
}

// One item for each dimension: the ellipsis, or the end, stands for those that are not named.
absl::StatusOr<std::vector<SliceItem>> FillUp(std::vector<SliceItem> items, size_t rank) {
  const auto is_ellipsis = [](const SliceItem& item) {
    return item.kind == SliceItem::Kind::kEllipsis;
  };
  const auto ellipsis = std::find_if(items.begin(), items.end(), is_ellipsis);
  const bool found = ellipsis != items.end();
  if (found && std::any_of(ellipsis + 1, items.end(), is_ellipsis)) {
    return absl::InvalidArgumentError("slice: more than one '...'");
  }
  const size_t named = items.size() - (found ? 1 : 0);
  if (named > rank) {
    return absl::InvalidArgumentError(
        StrCat("slice: ", named, " items, but the array has ", rank, " dimensions"));
  }
  const auto at = found ? items.erase(ellipsis) : items.end();
  items.insert(at, rank - named, kWhole);
  return items;
}

// How many elements a range takes of a dimension of `size`.
uint64_t CountOf(const SliceItem& item, uint64_t size) {
  const uint64_t stop = std::min(item.stop.value_or(size), size);
  if (item.start >= stop) return 0;
  return (stop - item.start - 1) / item.step + 1;
}

}  // namespace

absl::StatusOr<std::vector<SliceItem>> ParseSlice(std::string_view text) {
  std::vector<SliceItem> items;
  for (absl::string_view part : absl::StrSplit(ToAbsl(text), ',')) {
    TIFFIN_ASSIGN_OR_RETURN(SliceItem item, ParseItem(ToStd(part)));
    items.push_back(item);
  }
  return items;
}

absl::StatusOr<Selection> Select(const std::vector<SliceItem>& items, const Shape& shape) {
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<SliceItem> full, FillUp(items, shape.size()));
  Selection selection;
  for (size_t i = 0; i < shape.size(); ++i) {
    const SliceItem& item = full[i];
    const bool index = item.kind == SliceItem::Kind::kIndex;
    if (index && item.start >= shape[i]) {
      return absl::InvalidArgumentError(
          StrCat("slice: index ", item.start, " is beyond dimension ", i, " of size ", shape[i]));
    }
    const uint64_t count = index ? 1 : CountOf(item, shape[i]);
    // What is not needed to find the elements may be beyond what the wire takes.
    const uint64_t start = count > 0 ? item.start : 0;
    const uint64_t step = count > 1 ? item.step : 1;
    selection.dimensions.push_back(
        {static_cast<int64_t>(start), static_cast<int64_t>(count), static_cast<int64_t>(step)});
    if (!index) selection.shape.push_back(count);
  }
  return selection;
}

}  // namespace tiffin::cli
