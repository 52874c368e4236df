#include "common/crypto.h"

#include <openssl/bn.h>
#include <openssl/bytestring.h>
#include <openssl/md5.h>
#include <openssl/mem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include <algorithm>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "common/base64.h"
#include "common/strings.h"

namespace tiffin {
namespace {

using BigNumber = bssl::UniquePtr<BIGNUM>;

std::string Magnitude(const BIGNUM* number) {
  std::string bytes(BN_num_bytes(number), '\0');
  BN_bn2bin(number, reinterpret_cast<uint8_t*>(bytes.data()));
  return bytes;
}

}  // namespace

struct Sha256::State {
  SHA256_CTX context;
};

Sha256::Sha256() : state_(std::make_unique<State>()) { SHA256_Init(&state_->context); }
Sha256::Sha256(const Sha256& other) : state_(std::make_unique<State>(*other.state_)) {}
Sha256& Sha256::operator=(const Sha256& other) {
  *state_ = *other.state_;
  return *this;
}
Sha256::~Sha256() = default;

void Sha256::Update(std::string_view bytes) {
  // What comes next is fetched while this is hashed: processors stop reading ahead at the end of a
  // page, and waiting there can cost a third of the speed.
  constexpr size_t kStep = 512, kAhead = 2048, kCacheLine = 64;
  while (!bytes.empty()) {
    const size_t fetched = std::min(bytes.size(), kAhead + kStep);
    for (size_t i = kAhead; i < fetched; i += kCacheLine) __builtin_prefetch(bytes.data() + i);
    // Steps end where blocks do.
    const size_t step = std::min(bytes.size(), kStep - state_->context.num);
    SHA256_Update(&state_->context, bytes.data(), step);
    bytes.remove_prefix(step);
  }
}

Digest Sha256::Finish() {
  Digest digest;
  SHA256_Final(digest.bytes.data(), &state_->context);
  return digest;
}

Digest Sha256::Of(std::string_view bytes) {
  Digest digest;
  SHA256(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), digest.bytes.data());
  return digest;
}

std::string Digest::ToText() const { return Base64UrlEncode(view()); }

absl::StatusOr<Digest> Digest::FromBytes(std::string_view bytes) {
  Digest digest;
  if (bytes.size() != digest.bytes.size()) {
    return absl::InvalidArgumentError(StrCat("a SHA-256 has 32 bytes, this has ", bytes.size()));
  }
  std::memcpy(digest.bytes.data(), bytes.data(), bytes.size());
  return digest;
}

absl::StatusOr<Digest> Digest::FromText(std::string_view text) {
  constexpr size_t kTextSize = 44;
  if (text.size() == kTextSize) {
    if (const std::optional<std::string> bytes = Base64UrlDecode(text);
        bytes.has_value() && bytes->size() == 32) {
      return FromBytes(*bytes);
    }
  }
  return absl::InvalidArgumentError(StrCat("not a SHA-256 in padded base64url (44 characters): \"",
                                           absl::CHexEscape(ToAbsl(text.substr(0, 60))),
                                           text.size() > 60 ? "..." : "", "\""));
}

std::string Md5Hex(std::string_view bytes) {
  uint8_t digest[MD5_DIGEST_LENGTH];
  MD5(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size(), digest);
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest), sizeof(digest)});
}

std::string RandomBytes(size_t n) {
  std::string bytes(n, '\0');
  RAND_bytes(reinterpret_cast<uint8_t*>(bytes.data()), n);  // aborts rather than fail
  return bytes;
}

bool EqualInConstantTime(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

BigMagnitude DecimalToMagnitude(std::string_view decimal) {
  BIGNUM* parsed = nullptr;
  BN_dec2bn(&parsed, std::string(decimal).c_str());
  const BigNumber number(parsed);
  if (number == nullptr) return {false, ""};  // no decimal integer
  return {BN_is_negative(number.get()) != 0, Magnitude(number.get())};
}

std::string MagnitudeMinusOne(std::string_view magnitude) {
  const BigNumber number(
      BN_bin2bn(reinterpret_cast<const uint8_t*>(magnitude.data()), magnitude.size(), nullptr));
  BN_sub_word(number.get(), 1);
  return Magnitude(number.get());
}

}  // namespace tiffin
