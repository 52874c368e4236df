#include "server/blobs/verify_blob.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "common/status.h"
#include "server/blobs/checksum.h"

namespace tiffin::server {
namespace {

void Add(uint64_t begin, uint64_t end, std::string_view how, bool unreadable,
         std::vector<DamagedRange>* ranges) {
  if (!ranges->empty() && ranges->back().end == begin && ranges->back().how == how) {
    ranges->back().end = end;
  } else {
    ranges->push_back({begin, end, std::string(how), unreadable});
  }
}

bool Sound(const std::string& block, std::string_view checksums, uint64_t number) {
  char found[kChecksumBytes];
  BlockChecksum(block.data(), block.size(), found);
  const size_t at = number * kChecksumBytes;
  return at + kChecksumBytes <= checksums.size() &&
         std::memcmp(checksums.data() + at, found, kChecksumBytes) == 0;
}

}  // namespace

absl::StatusOr<std::vector<DamagedRange>> VerifyBlobIn(
    const PackFile& file, uint64_t offset, uint64_t size, std::string_view checksums,
    const std::function<absl::Status(std::string_view bytes)>& on_block) {
  std::vector<DamagedRange> ranges;
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t file_size, file.Size());
  std::string block;
  for (uint64_t at = 0; at < size; at += kChecksumBlock) {
    const uint64_t end = std::min(size, at + kChecksumBlock);
    if (offset + end > file_size) {
      Add(at, size, "lie behind the end of the file", false, &ranges);
      break;
    }
    block.resize(end - at);
    if (const absl::Status read = file.Read(block.data(), block.size(), offset + at); !read.ok()) {
      Add(at, end, "cannot be read", !absl::IsDataLoss(read), &ranges);
      continue;
    }
    if (!Sound(block, checksums, at / kChecksumBlock)) {
      Add(at, end, "differ from their checksum", false, &ranges);
    }
    TIFFIN_RETURN_IF_ERROR(on_block(block));
  }
  return ranges;
}

std::optional<std::string> ChecksumsOfKey(const PackFile& file, uint64_t offset, uint64_t size,
                                          const BlobName& name) {
  Sha256 hash = StartBlobKey(name.dtype, name.shape);
  ChecksumStream checksums;
  std::string block;
  for (uint64_t at = 0; at < size; at += block.size()) {
    block.resize(std::min(size - at, kChecksumBlock));
    if (!file.Read(block.data(), block.size(), offset + at).ok()) return std::nullopt;
    hash.Update(block);
    checksums.Update(block);
  }
  if (hash.Finish() != name.key) return std::nullopt;
  return checksums.Finish();
}

}  // namespace tiffin::server
