// BoringSSL's own SHA-256, with nothing of ours around it: the floor of `sha256`.
#ifndef TIFFIN_TESTS_BENCH_BLOBS_BARE_SHA256_H_
#define TIFFIN_TESTS_BENCH_BLOBS_BARE_SHA256_H_

#include <array>
#include <cstdint>
#include <string_view>

namespace tiffin::bench {

std::array<uint8_t, 32> BareSha256(std::string_view bytes);

}  // namespace tiffin::bench

#endif  // TIFFIN_TESTS_BENCH_BLOBS_BARE_SHA256_H_
