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

}  // namespace tiffin
