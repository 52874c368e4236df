// XXH3-128: guards bytes against damage. It is no name and no secret: see crypto.h for those.
#ifndef TIFFIN_COMMON_CHECKSUM_H_
#define TIFFIN_COMMON_CHECKSUM_H_

#include <array>
#include <cstdint>
#include <string_view>

namespace tiffin {

// In xxHash's canonical order (big-endian), so that it may be stored.
std::array<uint8_t, 16> Xxh3_128(std::string_view bytes);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_CHECKSUM_H_
