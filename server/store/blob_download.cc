#include "server/store/blob_download.h"

#include <algorithm>
#include <utility>

#include "common/status.h"

namespace tiffin::server {
namespace {

constexpr uint64_t kPiece = uint64_t{1} << 20;
// Runs from this length on go out of the mapping, shorter ones are gathered.
constexpr uint64_t kSendWhole = uint64_t{64} << 10;
// A piece gathered from runs that lie far apart is ended after so many checksum blocks, so that one
// piece never reads much more than it brings.
constexpr uint64_t kMaxBlocks = 64;
// What may be gathered on a thread that must not be kept.
constexpr uint64_t kCopiedAtOnce = uint64_t{128} << 10;

uint64_t BlockOf(uint64_t offset) { return offset / kChecksumBlock; }

}  // namespace

absl::StatusOr<std::unique_ptr<BlobDownload>> BlobDownload::Make(BlobCatalogue* blobs,
                                                                 BlobView blob,
                                                                 const DownloadRange& range) {
  const BlobName& name = blob.row.name;
  TIFFIN_ASSIGN_OR_RETURN(const DType dtype, ParseDType(name.dtype));
  const uint64_t item = dtype.total_size();
  Slab slab = Slab::Whole(name.shape, item);
  if (range.slab) {
    absl::StatusOr<Slab> selected = Slab::Make(name.shape, item, *range.slab);
    if (!selected.ok()) return Annotate(selected.status(), "slab.dimensions");
    slab = *std::move(selected);
  }
  TIFFIN_ASSIGN_OR_RETURN(std::shared_ptr<BlobReader> reader, blobs->Open(blob.row));
  std::unique_ptr<BlobDownload> download(
      new BlobDownload(blobs, std::move(blob), std::move(reader), std::move(slab)));
  BlobDownload& out = *download;
  out.part_ = range.slab || range.npy;
  if (range.npy) {
    if (out.blob_.json) return absl::InvalidArgumentError("format: a value is no array");
    TIFFIN_ASSIGN_OR_RETURN(out.header_,
                            NpyHeaderText(out.blob_.row.name.dtype, out.slab_.shape()));
  }
  const uint64_t all = out.header_.size() + out.slab_.bytes();
  if (range.offset > all) {
    return absl::OutOfRangeError(StrCat("offset: ", range.offset, ", there are ", all, " bytes"));
  }
  out.begin_ = out.at_ = range.offset;
  out.end_ = range.limit ? out.at_ + std::min(*range.limit, all - range.offset) : all;
  return download;
}

std::optional<FilePlace> BlobDownload::File() const {
  if (part_) return std::nullopt;
  std::optional<FilePlace> place = reader_->File();
  if (place && !place->sealed) place.reset();
  return place;
}

BlobDownload::Piece BlobDownload::NextPiece() const {
  const uint64_t from = at_ - header_.size();  // in the selection
  const uint64_t left = end_ - at_;
  const uint64_t run = slab_.run_bytes();
  Piece piece;
  if (run >= kSendWhole || run == slab_.bytes()) {
    // To the end of the run, or of a checksum block.
    slab_.ForRuns(from, 1, [&](uint64_t offset, uint64_t) { piece.together = offset; });
    piece.length = std::min({left, run - from % run,
                             (BlockOf(*piece.together) + 1) * kChecksumBlock - *piece.together});
    return piece;
  }
  uint64_t blocks = 0, last = UINT64_MAX;
  slab_.ForRuns(from, std::min(left, kPiece), [&](uint64_t offset, uint64_t length) {
    if (blocks > kMaxBlocks) return;
    const uint64_t first = BlockOf(offset), end = BlockOf(offset + length - 1);
    blocks += end - first + (first == last ? 0 : 1);
    last = end;
    piece.length += length;
  });
  return piece;
}

bool BlobDownload::AtHand() const {
  if (at_ == end_ || at_ < header_.size()) return true;
  const Piece piece = NextPiece();
  if (piece.together) return reader_->Checked(*piece.together, piece.length);
  if (piece.length > kCopiedAtOnce) return false;
  bool checked = true;
  uint64_t last = UINT64_MAX;
  slab_.ForRuns(at_ - header_.size(), piece.length, [&](uint64_t offset, uint64_t length) {
    if (!checked || (BlockOf(offset) == last && BlockOf(offset + length - 1) == last)) return;
    checked = reader_->Checked(offset, length);
    last = BlockOf(offset + length - 1);
  });
  return checked;
}

absl::Status BlobDownload::CheckPiece(const Piece& piece) {
  if (piece.together) return reader_->Check(*piece.together, piece.length);
  absl::Status status;
  uint64_t last = UINT64_MAX;
  slab_.ForRuns(at_ - header_.size(), piece.length, [&](uint64_t offset, uint64_t length) {
    if (!status.ok() || (BlockOf(offset) == last && BlockOf(offset + length - 1) == last)) return;
    status = reader_->Check(offset, length);
    last = BlockOf(offset + length - 1);
  });
  return status;
}

absl::StatusOr<BlobSlice> BlobDownload::Bring(const Piece& piece) {
  TIFFIN_RETURN_IF_ERROR(CheckPiece(piece));
  if (piece.together && piece.length >= kSendWhole) {
    return reader_->Slice(*piece.together, piece.length);
  }
  auto bytes = std::make_shared<std::string>(piece.length, '\0');
  TIFFIN_RETURN_IF_ERROR(
      reader_->Gather(slab_, at_ - header_.size(), piece.length, bytes->data()));
  return BlobSlice{*bytes, bytes};
}

absl::StatusOr<BlobSlice> BlobDownload::Next() {
  if (at_ < header_.size()) {
    auto header = std::make_shared<std::string>(header_.substr(at_, end_ - at_));
    at_ += header->size();
    return BlobSlice{*header, header};
  }
  const Piece piece = NextPiece();
  absl::StatusOr<BlobSlice> slice = Bring(piece);
  if (!slice.ok()) return blobs_->ReportDamage(blob_.row, slice.status());
  at_ += piece.length;
  return slice;
}

}  // namespace tiffin::server
