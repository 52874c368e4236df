#include "tests/bench/blobs/bare_sha256.h"

#include <openssl/sha.h>

namespace tiffin::bench {

std::array<uint8_t, 32> BareSha256(std::string_view bytes) {
  std::array<uint8_t, SHA256_DIGEST_LENGTH> digest;
  SHA256(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), digest.data());
  return digest;
}

}  // namespace tiffin::bench
