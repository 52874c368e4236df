#include "server/store/blob_download.h"

#include <algorithm>
#include <utility>

#include "common/status.h"

namespace tiffin::server {
namespace {

constexpr uint64_t kPiece = uint64_t{1} << 20;
// Runs from this length on go out of the mapping, shorter ones are gathered.
constexpr uint64_t kSentFromMapping = uint64_t{64} << 10;
// A piece of runs that lie far apart is ended after so many checksum blocks, so that one
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
  out.sends_runs_ = out.slab_.run_bytes() >= kSentFromMapping;
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

uint64_t BlobDownload::Selected() const { return std::max<uint64_t>(at_, header_.size()) - header_.size(); }

uint64_t BlobDownload::MostBytes() const {
  const uint64_t header = at_ < header_.size() ? header_.size() - at_ : 0;
  const uint64_t all = std::min(end_ - at_, kPiece);
  return all - std::min(all, header);
}

uint64_t BlobDownload::NextBytes() const {
  uint64_t bytes = 0, blocks = 0, last = UINT64_MAX;
  slab_.ForRuns(Selected(), MostBytes(), [&](uint64_t offset, uint64_t length) {
    if (blocks > kMaxBlocks) return;
    const uint64_t first = BlockOf(offset), end = BlockOf(offset + length - 1);
    blocks += end - first + (first == last ? 0 : 1);
    last = end;
    bytes += length;
  });
  return bytes;
}

bool BlobDownload::AtHand() const {
  if (!sends_runs_ && MostBytes() > kCopiedAtOnce) return false;
  const uint64_t bytes = NextBytes();
  bool checked = true;
  uint64_t last = UINT64_MAX;
  slab_.ForRuns(Selected(), bytes, [&](uint64_t offset, uint64_t length) {
    if (!checked || (BlockOf(offset) == last && BlockOf(offset + length - 1) == last)) return;
    checked = reader_->Checked(offset, length);
    last = BlockOf(offset + length - 1);
  });
  return checked;
}

absl::Status BlobDownload::Check(uint64_t bytes) {
  absl::Status status;
  uint64_t last = UINT64_MAX;
  slab_.ForRuns(Selected(), bytes, [&](uint64_t offset, uint64_t length) {
    if (!status.ok() || (BlockOf(offset) == last && BlockOf(offset + length - 1) == last)) return;
    status = reader_->Check(offset, length);
    last = BlockOf(offset + length - 1);
  });
  return status;
}

absl::StatusOr<std::vector<BlobSlice>> BlobDownload::Bring(uint64_t bytes) {
  TIFFIN_RETURN_IF_ERROR(Check(bytes));
  std::vector<BlobSlice> slices;
  if (at_ < header_.size()) {
    auto header = std::make_shared<std::string>(header_.substr(at_, end_ - at_));
    slices.push_back({*header, header});
  }
  if (bytes == 0) return slices;
  if (!sends_runs_) {
    auto gathered = std::make_shared<std::string>(bytes, '\0');
    TIFFIN_RETURN_IF_ERROR(reader_->Gather(slab_, Selected(), bytes, gathered->data()));
    slices.push_back({*gathered, gathered});
    return slices;
  }
  absl::Status status;
  slab_.ForRuns(Selected(), bytes, [&](uint64_t offset, uint64_t length) {
    if (!status.ok()) return;
    absl::StatusOr<BlobSlice> slice = reader_->Slice(offset, length);
    status = slice.status();
    if (slice.ok()) slices.push_back(*std::move(slice));
  });
  TIFFIN_RETURN_IF_ERROR(status);
  return slices;
}

absl::StatusOr<std::vector<BlobSlice>> BlobDownload::Next() {
  const uint64_t bytes = NextBytes();
  absl::StatusOr<std::vector<BlobSlice>> slices = Bring(bytes);
  if (!slices.ok()) return blobs_->ReportDamage(blob_.row, slices.status());
  for (const BlobSlice& slice : *slices) at_ += slice.bytes.size();
  return slices;
}

}  // namespace tiffin::server
