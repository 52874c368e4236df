// SHA-256, MD5, random bytes and constant-time comparison, from BoringSSL. The only file of the
// project that includes BoringSSL's headers is crypto.cc.
#ifndef TIFFIN_COMMON_CRYPTO_H_
#define TIFFIN_COMMON_CRYPTO_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace tiffin {

// A SHA-256: names jobs, blobs, values and results.
struct Digest {
  std::array<uint8_t, 32> bytes{};

  std::string_view view() const {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // Padded base64url, 44 characters.
  std::string ToText() const;
  // INVALID_ARGUMENT unless `bytes` are 32 bytes.
  static absl::StatusOr<Digest> FromBytes(std::string_view bytes);
  // INVALID_ARGUMENT unless `text` is canonical padded base64url of 32 bytes.
  static absl::StatusOr<Digest> FromText(std::string_view text);

  friend auto operator<=>(const Digest&, const Digest&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Digest& d) {
    return H::combine(std::move(h), d.bytes);
  }
};

// SHA-256 of a stream of bytes.
class Sha256 {
 public:
  Sha256();
  Sha256(const Sha256&);
  Sha256& operator=(const Sha256&);
  ~Sha256();

  void Update(std::string_view bytes);
  // May be called once.
  Digest Finish();

  static Digest Of(std::string_view bytes);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// MD5 as 32 lower-case hexadecimal digits. Only for Noodles' own `prov` keys.
std::string Md5Hex(std::string_view bytes);

// `n` unpredictable bytes.
std::string RandomBytes(size_t n);

// True if equal; the time taken depends on the lengths only.
bool EqualInConstantTime(std::string_view a, std::string_view b);

// A decimal integer (optional '-', digits) as sign and big-endian magnitude without leading zeros.
struct BigMagnitude {
  bool negative;
  std::string bytes;
};
BigMagnitude DecimalToMagnitude(std::string_view decimal);
// The magnitude minus one, which must not be zero (CBOR's form of negative integers).
std::string MagnitudeMinusOne(std::string_view magnitude);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_CRYPTO_H_
