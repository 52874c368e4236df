#include "server/blobs/checksum.h"

#include <xxhash.h>

#include <algorithm>
#include <cstring>
#include <new>

#include "server/blobs/blob_store.h"

namespace tiffin::server {
namespace {

XXH3_state_t* State(void* state) { return static_cast<XXH3_state_t*>(state); }

void AppendCanonical(XXH128_hash_t hash, std::string* out) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, hash);
  out->append(reinterpret_cast<const char*>(canonical.digest), sizeof canonical.digest);
}

}  // namespace

void BlockChecksum(const char* bytes, size_t size, char out[kChecksumBytes]) {
  XXH128_canonical_t canonical;
  XXH128_canonicalFromHash(&canonical, XXH3_128bits(bytes, size));
  std::memcpy(out, canonical.digest, kChecksumBytes);
}

std::string Checksums(std::string_view bytes) {
  std::string out;
  for (; !bytes.empty(); bytes.remove_prefix(std::min<size_t>(bytes.size(), kChecksumBlock))) {
    const std::string_view block = bytes.substr(0, kChecksumBlock);
    AppendCanonical(XXH3_128bits(block.data(), block.size()), &out);
  }
  return out;
}

ChecksumStream::ChecksumStream() : state_(XXH3_createState()) {
  if (state_ == nullptr) throw std::bad_alloc();
  XXH3_128bits_reset(State(state_));
}

ChecksumStream::~ChecksumStream() { XXH3_freeState(State(state_)); }

void ChecksumStream::Update(std::string_view bytes) {
  while (!bytes.empty()) {
    const size_t n = std::min<size_t>(bytes.size(), kChecksumBlock - in_block_);
    XXH3_128bits_update(State(state_), bytes.data(), n);
    bytes.remove_prefix(n);
    in_block_ += n;
    if (in_block_ < kChecksumBlock) return;
    AppendCanonical(XXH3_128bits_digest(State(state_)), &done_);
    XXH3_128bits_reset(State(state_));
    in_block_ = 0;
  }
}

std::string ChecksumStream::Finish() {
  if (in_block_ > 0) AppendCanonical(XXH3_128bits_digest(State(state_)), &done_);
  in_block_ = 0;
  return done_;
}

}  // namespace tiffin::server
