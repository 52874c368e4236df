// The checksums of blobs: one XXH3-128 for each kChecksumBlock.
#ifndef TIFFIN_SERVER_BLOBS_CHECKSUM_H_
#define TIFFIN_SERVER_BLOBS_CHECKSUM_H_

#include <cstdint>
#include <string>
#include <string_view>

namespace tiffin::server {

inline constexpr size_t kChecksumBytes = 16;

// Of one block, in place: neither allocates nor locks.
void BlockChecksum(const char* bytes, size_t size, char out[kChecksumBytes]);

// Of bytes that begin at a block's start.
std::string Checksums(std::string_view bytes);

// The same of a stream of bytes.
class ChecksumStream {
 public:
  ChecksumStream();
  ~ChecksumStream();
  ChecksumStream(const ChecksumStream&) = delete;
  ChecksumStream& operator=(const ChecksumStream&) = delete;

  void Update(std::string_view bytes);
  std::string Finish();

 private:
  void* state_;
  uint64_t in_block_ = 0;
  std::string done_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_CHECKSUM_H_
