// absl::StrCat for std::string_view: Debian's Abseil is built with a string_view of its own.
#ifndef TIFFIN_COMMON_STRINGS_H_
#define TIFFIN_COMMON_STRINGS_H_

#include <string>
#include <string_view>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace tiffin {

inline absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }
inline std::string_view ToStd(absl::string_view s) { return {s.data(), s.size()}; }

namespace strings_internal {
// What absl::StrCat takes: anything but std::string_view as it is.
template <typename T>
const T& Piece(const T& piece) {
  return piece;
}
inline absl::string_view Piece(const std::string_view& piece) { return ToAbsl(piece); }
}  // namespace strings_internal

template <typename... Pieces>
std::string StrCat(const Pieces&... pieces) {
  return absl::StrCat(strings_internal::Piece(pieces)...);
}

template <typename... Pieces>
void StrAppend(std::string* out, const Pieces&... pieces) {
  absl::StrAppend(out, strings_internal::Piece(pieces)...);
}

}  // namespace tiffin

#endif  // TIFFIN_COMMON_STRINGS_H_
