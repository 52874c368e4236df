// Finding the end of a run of plain characters in a JSON string, eight bytes at a time. Internal to
// json_parse.cc and json_print.cc.
#ifndef TIFFIN_COMMON_JSON_SCAN_H_
#define TIFFIN_COMMON_JSON_SCAN_H_

#include <cstdint>
#include <cstring>

namespace tiffin::json_internal {

constexpr uint64_t Repeat(uint8_t byte) { return byte * uint64_t{0x0101010101010101}; }

// Non-zero if a byte of `word` is zero. Source: "Bit Twiddling Hacks", haszero.
constexpr uint64_t HasZero(uint64_t word) { return (word - Repeat(0x01)) & ~word & Repeat(0x80); }

// The first byte in [p, end) that is not plain: a quote, a backslash, a control character, any byte
// from 0x80 on, or one of `Others`.
template <uint8_t... Others>
const char* SkipPlain(const char* p, const char* end) {
  for (; end - p >= 8; p += 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    uint64_t special = word & Repeat(0x80);
    special |= HasZero(word ^ Repeat('"')) | HasZero(word ^ Repeat('\\'));
    special |= (word - Repeat(0x20)) & ~word & Repeat(0x80);  // below a blank
    special |= (uint64_t{0} | ... | HasZero(word ^ Repeat(Others)));
    if (special != 0) break;
  }
  for (; p != end; ++p) {
    const uint8_t c = static_cast<uint8_t>(*p);
    if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\' || (... || (c == Others))) return p;
  }
  return end;
}

}  // namespace tiffin::json_internal

#endif  // TIFFIN_COMMON_JSON_SCAN_H_
