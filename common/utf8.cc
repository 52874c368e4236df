#include "common/utf8.h"

namespace tiffin {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

uint8_t ByteAt(std::string_view s, size_t i) { return static_cast<uint8_t>(s[i]); }

bool IsContinuation(uint8_t b) { return (b & 0xC0) == 0x80; }

// The high surrogate at the end of `s`, or 0.
uint32_t HighSurrogateAtEnd(std::string_view s) {
  if (s.size() < 3) return 0;
  const std::string_view tail = s.substr(s.size() - 3);
  if (ByteAt(tail, 0) != 0xED || ByteAt(tail, 1) < 0xA0 || ByteAt(tail, 1) > 0xAF) return 0;
  return 0xD000u | (ByteAt(tail, 1) & 0x3Fu) << 6 | (ByteAt(tail, 2) & 0x3Fu);
}

}  // namespace

CodePoint DecodeUtf8(std::string_view bytes) {
  const uint8_t first = ByteAt(bytes, 0);
  if (first < 0x80) return {first, 1};
  const size_t length = first < 0xC2   ? 0
                        : first < 0xE0 ? 2
                        : first < 0xF0 ? 3
                        : first < 0xF5 ? 4
                                       : 0;
  if (length == 0 || bytes.size() < length) return {};
  uint32_t value = first & (0x7Fu >> length);
  for (size_t i = 1; i < length; ++i) {
    if (!IsContinuation(ByteAt(bytes, i))) return {};
    value = value << 6 | (ByteAt(bytes, i) & 0x3Fu);
  }
  // Overlong forms, and beyond Unicode.
  if ((length == 3 && value < 0x800) || (length == 4 && (value < 0x10000 || value > 0x10FFFF))) {
    return {};
  }
  return {value, length};
}

void AppendWtf8(uint32_t cp, std::string* out) {
  if (cp >= 0xDC00 && cp <= 0xDFFF) {
    if (const uint32_t high = HighSurrogateAtEnd(*out)) {
      out->resize(out->size() - 3);
      cp = 0x10000 + ((high - 0xD800) << 10) + (cp - 0xDC00);
    }
  }
  if (cp < 0x80) {
    out->push_back(static_cast<char>(cp));
  } else if (cp < 0x800) {
    out->push_back(static_cast<char>(0xC0 | cp >> 6));
    out->push_back(static_cast<char>(0x80 | (cp & 0x3F)));
  } else if (cp < 0x10000) {
    out->push_back(static_cast<char>(0xE0 | cp >> 12));
    out->push_back(static_cast<char>(0x80 | (cp >> 6 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (cp & 0x3F)));
  } else {
    out->push_back(static_cast<char>(0xF0 | cp >> 18));
    out->push_back(static_cast<char>(0x80 | (cp >> 12 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (cp >> 6 & 0x3F)));
    out->push_back(static_cast<char>(0x80 | (cp & 0x3F)));
  }
}

bool HasSurrogate(std::string_view wtf8) {
  for (size_t i = wtf8.find('\xED'); i != std::string_view::npos; i = wtf8.find('\xED', i + 1)) {
    if (i + 1 < wtf8.size() && ByteAt(wtf8, i + 1) >= 0xA0) return true;
  }
  return false;
}

std::string ToValidUtf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  while (!bytes.empty()) {
    const CodePoint cp = DecodeUtf8(bytes);
    if (cp.length == 0 || cp.surrogate()) {
      out += kReplacement;
    } else {
      out += bytes.substr(0, cp.length);
    }
    bytes.remove_prefix(cp.length == 0 ? 1 : cp.length);
  }
  return out;
}

std::string CutUtf8(std::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  size_t end = max_bytes < 3 ? 0 : max_bytes - 3;
  while (end > 0 && IsContinuation(ByteAt(text, end))) --end;
  return std::string(text.substr(0, end)) + "...";
}

}  // namespace tiffin
