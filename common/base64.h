// Canonical base64 (RFC 4648).
#ifndef TIFFIN_COMMON_BASE64_H_
#define TIFFIN_COMMON_BASE64_H_

#include <optional>
#include <string>
#include <string_view>

namespace tiffin {

// Standard alphabet, padded: as Python's b64encode.
std::string Base64Encode(std::string_view bytes);
// URL-safe alphabet, padded: as Python's urlsafe_b64encode.
std::string Base64UrlEncode(std::string_view bytes);

// The bytes, if `text` is exactly what the encoder above would write for them: padded, no white
// space, no stray bits in the last character. nullopt otherwise.
std::optional<std::string> Base64Decode(std::string_view text);
std::optional<std::string> Base64UrlDecode(std::string_view text);

// Number of bytes that a canonical text of that length and padding stands for, without reading the
// rest of it; nullopt if the length alone tells that it is not canonical.
std::optional<size_t> Base64DecodedSize(std::string_view text);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_BASE64_H_
