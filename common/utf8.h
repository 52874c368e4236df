// UTF-8, and its superset WTF-8 in which a lone surrogate stands as its three-byte form.
#ifndef TIFFIN_COMMON_UTF8_H_
#define TIFFIN_COMMON_UTF8_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tiffin {

struct CodePoint {
  uint32_t value = 0;
  size_t length = 0;  // bytes it takes; 0: not well-formed

  bool surrogate() const { return value >= 0xD800 && value <= 0xDFFF; }
};

// The code point at the start of `bytes`, which must not be empty. Surrogates are taken.
CodePoint DecodeUtf8(std::string_view bytes);

// Appends a code point. A low surrogate after a high one becomes the one code point they stand for,
// so that a text has one form only.
void AppendWtf8(uint32_t code_point, std::string* out);

// True if a WTF-8 text holds a lone surrogate, so that it is not UTF-8.
bool HasSurrogate(std::string_view wtf8);

// The text with U+FFFD for what is not UTF-8: for messages and protobuf strings.
std::string ToValidUtf8(std::string_view bytes);

// The first `max_bytes` of the text at most, whole code points only, with "..." if cut.
std::string CutUtf8(std::string_view text, size_t max_bytes);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_UTF8_H_
