#include "server/blobs/mapped_pack.h"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "common/status.h"
#include "server/blobs/checksum.h"
#include "server/blobs/guarded.h"
#include "server/blobs/pack_file.h"

namespace tiffin::server {
namespace {

// Blobs of one pack whose checked blocks are remembered: beyond it all are forgotten, and checked
// again when they are next used.
constexpr size_t kRemembered = 16'384;

class MappedBlob : public BlobReader {
 public:
  MappedBlob(std::shared_ptr<MappedPack> pack, bool sealed, uint64_t offset, uint64_t size,
             std::string checksums)
      : pack_(std::move(pack)),
        sealed_(sealed),
        offset_(offset),
        size_(size),
        checksums_(std::move(checksums)) {}

  bool Checked(uint64_t offset, uint64_t length) const override {
    return length == 0 ||
           pack_->Checked(offset_, offset / kChecksumBlock, (offset + length - 1) / kChecksumBlock);
  }

  absl::Status Check(uint64_t offset, uint64_t length) override {
    if (length == 0) return absl::OkStatus();
    const uint64_t last = (offset + length - 1) / kChecksumBlock;
    for (uint64_t block = offset / kChecksumBlock; block <= last; ++block) {
      if (pack_->Checked(offset_, block, block)) continue;
      TIFFIN_RETURN_IF_ERROR(CheckBlock(block));
      pack_->MarkChecked(offset_, block);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<BlobSlice> Slice(uint64_t offset, uint64_t length) const override {
    // What was checked may have been cut off since: sent, it would end the whole connection. (A
    // file that is gone by name is whole.)
    std::error_code error;
    const uint64_t now = std::filesystem::file_size(pack_->path(), error);
    if (!error && now < offset_ + offset + length) return Unreadable(offset + length);
    return BlobSlice{std::string_view(pack_->data() + offset_ + offset, length), pack_};
  }

  absl::Status Gather(const Slab& slab, uint64_t offset, uint64_t length, char* to) const override {
    const char* const from = pack_->data() + offset_;
    const auto copy = [&] {
      slab.ForRuns(offset, length, [&](uint64_t at, uint64_t n) {
        std::memcpy(to, from + at, n);
        to += n;
      });
    };
    if (Guarded(copy)) return absl::OkStatus();
    return Unreadable(size_);
  }

  std::optional<FilePlace> File() const override {
    return FilePlace{pack_->path().string(), offset_, sealed_};
  }

 private:
  absl::Status CheckBlock(uint64_t block) {
    const uint64_t at = block * kChecksumBlock;
    const uint64_t length = std::min(size_ - at, kChecksumBlock);
    const char* const bytes = pack_->data() + offset_ + at;
    char found[kChecksumBytes];
    if (!Guarded([&] { BlockChecksum(bytes, length, found); })) return Unreadable(at + length);
    const size_t stored = block * kChecksumBytes;
    if (stored + kChecksumBytes > checksums_.size() ||
        std::memcmp(checksums_.data() + stored, found, kChecksumBytes) != 0) {
      return absl::DataLossError(StrCat("pack ", pack_->path().stem().string(), ": block ", block,
                                        " of the blob at ", offset_,
                                        " does not match its checksum"));
    }
    return absl::OkStatus();
  }

  // Why an access up to byte `end` failed: what was cut off is lost, while a disk that fails may
  // work again.
  absl::Status Unreadable(uint64_t end) const {
    const std::string what = StrCat("pack ", pack_->path().stem().string(), ": the blob at ",
                                    offset_, " cannot be read: ");
    std::error_code error;
    const uint64_t now = std::filesystem::file_size(pack_->path(), error);
    if (!error && now < offset_ + end) return absl::DataLossError(StrCat(what, "the file was cut"));
    return absl::UnavailableError(StrCat(what, "the disk fails"));
  }

  const std::shared_ptr<MappedPack> pack_;
  const bool sealed_;
  const uint64_t offset_, size_;
  const std::string checksums_;
};

}  // namespace

absl::StatusOr<std::shared_ptr<MappedPack>> MappedPack::Open(const std::filesystem::path& path) {
  TIFFIN_ASSIGN_OR_RETURN(const std::unique_ptr<PackFile> file, PackFile::Open(path, false));
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  if (size == 0) return absl::DataLossError(StrCat("pack ", path.stem().string(), " is empty"));
  void* const data = mmap(nullptr, size, PROT_READ, MAP_SHARED, file->fd(), 0);
  if (data == MAP_FAILED) {
    return absl::UnavailableError(StrCat("mapping ", path.string(), ": ", std::strerror(errno)));
  }
  return std::shared_ptr<MappedPack>(new MappedPack(path, static_cast<const char*>(data), size));
}

MappedPack::~MappedPack() { munmap(const_cast<char*>(data_), size_); }

bool MappedPack::Checked(uint64_t offset, uint64_t first, uint64_t last) const {
  std::lock_guard lock(mutex_);
  const auto it = checked_.find(offset);
  if (it == checked_.end() || last >= it->second.size()) return false;
  for (uint64_t block = first; block <= last; ++block) {
    if (!it->second[block]) return false;
  }
  return true;
}

void MappedPack::MarkChecked(uint64_t offset, uint64_t block) {
  std::lock_guard lock(mutex_);
  if (checked_.size() >= kRemembered && !checked_.contains(offset)) checked_.clear();
  std::vector<bool>& blocks = checked_[offset];
  if (blocks.size() <= block) blocks.resize(block + 1);
  blocks[block] = true;
}

absl::StatusOr<std::shared_ptr<BlobReader>> ReadBlobIn(std::shared_ptr<MappedPack> pack,
                                                       bool sealed, uint64_t offset, uint64_t size,
                                                       std::string checksums) {
  if (offset > pack->size() || size > pack->size() - offset) {
    return absl::DataLossError(StrCat("pack ", pack->path().stem().string(), " ends before the ",
                                      size, " bytes of the blob at ", offset));
  }
  return std::make_shared<MappedBlob>(std::move(pack), sealed, offset, size, std::move(checksums));
}

}  // namespace tiffin::server
