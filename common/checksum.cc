#include "common/checksum.h"

#define XXH_INLINE_ALL  // nothing to link
#include <xxhash.h>

#include <cstring>

namespace tiffin {

std::array<uint8_t, 16> Xxh3_128(std::string_view bytes) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes.data(), bytes.size()));
  std::array<uint8_t, 16> checksum;
  static_assert(sizeof(canonical.digest) == checksum.size());
  std::memcpy(checksum.data(), canonical.digest, checksum.size());
  return checksum;
}

Checksum64& Checksum64::Add(int64_t number) {
  for (int shift = 0; shift < 64; shift += 8) {
    bytes_.push_back(static_cast<char>(static_cast<uint64_t>(number) >> shift));
  }
  return *this;
}

Checksum64& Checksum64::Add(std::string_view text) {
  return Add(static_cast<int64_t>(text.size()))
      .Add(static_cast<int64_t>(XXH3_64bits(text.data(), text.size())));
}

int64_t Checksum64::Finish() const {
  const auto sum = static_cast<int64_t>(XXH3_64bits(bytes_.data(), bytes_.size()));
  return sum == 0 ? 1 : sum;
}

}  // namespace tiffin
