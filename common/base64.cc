#include "common/base64.h"

#include <array>
#include <cstdint>
#include <cstring>

namespace tiffin {
namespace {

// Own code: absl's decoder skips white space and takes texts without padding or with stray bits,
// which is not canonical, and one text must stand for one value.

constexpr std::string_view kStandard =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kUrl =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// For each twelve bits, their two characters.
using EncodeTable = std::array<std::array<char, 2>, 4096>;

constexpr EncodeTable MakeEncodeTable(std::string_view alphabet) {
  EncodeTable table{};
  for (size_t i = 0; i < table.size(); ++i) table[i] = {alphabet[i >> 6], alphabet[i & 63]};
  return table;
}

// For each character at each of the four places of a group, its bits where they belong in the
// group's 24; kBad in all others.
constexpr uint32_t kBad = 0x80000000;
using DecodeTable = std::array<std::array<uint32_t, 256>, 4>;

constexpr DecodeTable MakeDecodeTable(std::string_view alphabet) {
  DecodeTable table{};
  for (int place = 0; place < 4; ++place) {
    for (uint32_t& entry : table[place]) entry = kBad;
    for (uint32_t i = 0; i < 64; ++i) {
      table[place][static_cast<uint8_t>(alphabet[i])] = i << (18 - 6 * place);
    }
  }
  return table;
}

constexpr EncodeTable kEncodeStandard = MakeEncodeTable(kStandard);
constexpr EncodeTable kEncodeUrl = MakeEncodeTable(kUrl);
constexpr DecodeTable kDecodeStandard = MakeDecodeTable(kStandard);
constexpr DecodeTable kDecodeUrl = MakeDecodeTable(kUrl);

std::string Encode(std::string_view bytes, const EncodeTable& table) {
  std::string text((bytes.size() + 2) / 3 * 4, '=');
  const uint8_t* in = reinterpret_cast<const uint8_t*>(bytes.data());
  char* out = text.data();
  size_t left = bytes.size();
  for (; left >= 3; left -= 3, in += 3, out += 4) {
    const uint32_t bits = uint32_t{in[0]} << 16 | uint32_t{in[1]} << 8 | in[2];
    std::memcpy(out, table[bits >> 12].data(), 2);
    std::memcpy(out + 2, table[bits & 4095].data(), 2);
  }
  if (left > 0) {
    const uint32_t bits = uint32_t{in[0]} << 16 | (left == 2 ? uint32_t{in[1]} << 8 : 0);
    std::memcpy(out, table[bits >> 12].data(), 2);
    if (left == 2) out[2] = table[bits & 4095][0];
  }
  return text;
}

uint32_t DecodeGroup(const uint8_t* in, const DecodeTable& table) {
  return table[0][in[0]] | table[1][in[1]] | table[2][in[2]] | table[3][in[3]];
}

void Store24(uint32_t bits, char* out) {
  out[0] = static_cast<char>(bits >> 16);
  out[1] = static_cast<char>(bits >> 8);
  out[2] = static_cast<char>(bits);
}

std::optional<std::string> Decode(std::string_view text, const DecodeTable& table) {
  const std::optional<size_t> size = Base64DecodedSize(text);
  if (!size) return std::nullopt;
  std::string bytes(*size, '\0');
  const uint8_t* in = reinterpret_cast<const uint8_t*>(text.data());
  char* out = bytes.data();
  uint32_t bad = 0;
  for (size_t groups = *size / 3; groups > 0; --groups, in += 4, out += 3) {
    const uint32_t bits = DecodeGroup(in, table);
    bad |= bits;
    Store24(bits, out);
  }
  if (const size_t left = *size % 3; left > 0) {
    // 'A' stands for zero bits in place of the padding.
    const uint8_t group[4] = {in[0], in[1], left == 2 ? in[2] : uint8_t{'A'}, 'A'};
    const uint32_t bits = DecodeGroup(group, table);
    bad |= bits;
    if ((bits & (left == 2 ? 0xFFu : 0xFFFFu)) != 0) return std::nullopt;
    out[0] = static_cast<char>(bits >> 16);
    if (left == 2) out[1] = static_cast<char>(bits >> 8);
  }
  if ((bad & kBad) != 0) return std::nullopt;
  return bytes;
}

}  // namespace

std::string Base64Encode(std::string_view bytes) { return Encode(bytes, kEncodeStandard); }
std::string Base64UrlEncode(std::string_view bytes) { return Encode(bytes, kEncodeUrl); }

std::optional<std::string> Base64Decode(std::string_view text) {
  return Decode(text, kDecodeStandard);
}
std::optional<std::string> Base64UrlDecode(std::string_view text) {
  return Decode(text, kDecodeUrl);
}

std::optional<size_t> Base64DecodedSize(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  if (text.empty()) return 0;
  const size_t padding = !text.ends_with('=') ? 0 : !text.ends_with("==") ? 1 : 2;
  return text.size() / 4 * 3 - padding;
}

}  // namespace tiffin
