// The bytes of one dataset on their way to disk, written from the front.
#ifndef TIFFIN_SERVER_BLOBS_STREAMED_BYTES_H_
#define TIFFIN_SERVER_BLOBS_STREAMED_BYTES_H_

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "server/blobs/checksum.h"
#include "server/blobs/pack_file.h"

namespace tiffin::server {

// Checksums are made and the disk is set to work on the way, so that the last sync has little to
// wait for. Used by one thread at a time.
class StreamedBytes {
 public:
  // `size` bytes at `base` of the file, of which `written` are there.
  StreamedBytes(std::unique_ptr<PackFile> file, uint64_t base, uint64_t size)
      : file_(std::move(file)), base_(base), size_(size) {}

  uint64_t base() const { return base_; }
  uint64_t size() const { return size_; }
  uint64_t written() const { return written_; }
  const PackFile& file() const { return *file_; }

  // INVALID_ARGUMENT past the size.
  absl::Status Append(std::span<const std::string_view> parts);
  // Takes over what an earlier writer left: the first `length` bytes, told to `read` in pieces,
  // whose error ends it.
  template <typename Read>
  absl::Status TakeOver(uint64_t length, Read&& read);

  // INVALID_ARGUMENT if bytes are missing.
  absl::Status CheckComplete() const;
  std::string Checksums() { return checksums_.Finish(); }

 private:
  const std::unique_ptr<PackFile> file_;
  const uint64_t base_, size_;
  ChecksumStream checksums_;
  uint64_t written_ = 0, sync_started_ = 0;
};

template <typename Read>
absl::Status StreamedBytes::TakeOver(uint64_t length, Read&& read) {
  std::string piece;
  while (written_ < length) {
    piece.resize(std::min<uint64_t>(length - written_, uint64_t{1} << 20));
    if (absl::Status status = file_->Read(piece.data(), piece.size(), base_ + written_);
        !status.ok()) {
      return status;
    }
    checksums_.Update(piece);
    if (absl::Status status = read(std::string_view(piece)); !status.ok()) return status;
    written_ += piece.size();
  }
  sync_started_ = written_;
  return absl::OkStatus();
}

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_STREAMED_BYTES_H_
