// Bytes that no compressor or page cache knows better than others; the same from the same seed.
#ifndef TIFFIN_TESTS_BENCH_BLOBS_NOISE_H_
#define TIFFIN_TESTS_BENCH_BLOBS_NOISE_H_

#include <cstdint>
#include <cstring>
#include <string>

namespace tiffin::bench {

// Of the 1 GiB that deref_1GiB brings, and that its floor streams from memory.
constexpr uint64_t kDerefSeed = 2;

inline std::string Noise(uint64_t size, uint64_t seed) {
  std::string bytes(size, '\0');
  uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;
  for (uint64_t at = 0; at + 8 <= size; at += 8) {
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    std::memcpy(bytes.data() + at, &x, 8);
  }
  return bytes;
}

}  // namespace tiffin::bench

#endif  // TIFFIN_TESTS_BENCH_BLOBS_NOISE_H_
