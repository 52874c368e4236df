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

absl::StatusOr<Selection> Selection::Make(const std::vector<SliceItem>& items, const Shape& shape,
                                          uint64_t element_bytes) {
  TIFFIN_ASSIGN_OR_RETURN(const std::vector<SliceItem> full, FillUp(items, shape.size()));
  Selection selection;
  selection.element_bytes_ = element_bytes;
  selection.dimensions_.resize(shape.size());
  uint64_t stride = element_bytes;
  uint64_t last = 0;  // the first byte of the last element, from `offset_` on
  bool empty = false;
  for (size_t i = shape.size(); i-- > 0;) {
    const SliceItem& item = full[i];
    const bool index = item.kind == SliceItem::Kind::kIndex;
    if (index && item.start >= shape[i]) {
      return absl::InvalidArgumentError(StrCat("slice: index ", item.start,
                                               " is beyond dimension ", i, " of size ", shape[i]));
    }
    const uint64_t count = index ? 1 : CountOf(item, shape[i]);
    // A step beyond the end counts once only, and must not overflow the stride.
    const uint64_t step = count > 1 ? item.step : 1;
    selection.dimensions_[i] = {count, stride * step};
    if (!index) selection.shape_.insert(selection.shape_.begin(), count);
    if (count == 0) {
      empty = true;
    } else {
      selection.offset_ += item.start * stride;
      last += (count - 1) * step * stride;
    }
    stride *= shape[i];
  }
  selection.length_ = empty ? 0 : last + element_bytes;
  if (empty) selection.offset_ = 0;
  return selection;
}

std::string Selection::Gather(std::string_view range) const {
  std::string out;
  if (length_ == 0) return out;
  // The innermost dimensions that lie side by side are copied as one run.
  size_t outer = dimensions_.size();
  uint64_t run = element_bytes_;
  while (outer > 0 && dimensions_[outer - 1].stride == run) run *= dimensions_[--outer].count;
  std::vector<uint64_t> at(outer, 0);
  for (;;) {
    uint64_t offset = 0;
    for (size_t i = 0; i < outer; ++i) offset += at[i] * dimensions_[i].stride;
    out.append(range.substr(offset, run));
    size_t i = outer;
    while (i > 0 && ++at[i - 1] == dimensions_[i - 1].count) at[--i] = 0;
    if (i == 0) return out;
  }
}

}  // namespace tiffin::cli
