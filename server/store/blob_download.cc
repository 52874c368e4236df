#include "server/store/blob_download.h"

#include <algorithm>
#include <utility>

#include "common/status.h"

namespace tiffin::server {
namespace {

constexpr uint64_t kPiece = uint64_t{1} << 20;
// Runs from this length on go out of the mapping, shorter ones are gathered.
constexpr uint64_t kSentFromMapping = uint64_t{64} << 10;
// Runs that lie far apart are gathered so many checksum blocks at a time: in between it may be
// stopped.
constexpr uint64_t kBlocksAtOnce = 64;
// What may be gathered on a thread that must not be kept: bytes, and runs, each of which may touch
// a page of its own.
constexpr uint64_t kCopiedAtOnce = uint64_t{128} << 10;
constexpr uint64_t kRunsAtOnce = 1024;

uint64_t BlockOf(uint64_t offset) { return offset / kChecksumBlock; }

}  // namespace

absl::StatusOr<std::unique_ptr<BlobDownload>> BlobDownload::Make(BlobCatalogue* blobs,
                                                                 BlobView blob,
                                                                 const DownloadRange& range,
                                                                 IfDamaged if_damaged) {
  const BlobName& name = blob.row.name;
  TIFFIN_ASSIGN_OR_RETURN(const DType dtype, ParseDType(name.dtype));
  const uint64_t item = dtype.total_size();
  Slab slab = Slab::Whole(name.shape, item);
  if (range.slab) {
    absl::StatusOr<Slab> selected = Slab::Make(name.shape, item, *range.slab);
    if (!selected.ok()) return Annotate(selected.status(), "slab.dimensions");
    slab = *std::move(selected);
  }
  TIFFIN_ASSIGN_OR_RETURN(std::shared_ptr<BlobReader> reader, blobs->Open(blob.row, if_damaged));
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

uint64_t BlobDownload::Selected() const {
  return std::max<uint64_t>(at_, header_.size()) - header_.size();
}

uint64_t BlobDownload::PieceBytes() const {
  const uint64_t header = at_ < header_.size() ? header_.size() - at_ : 0;
  const uint64_t all = std::min(end_ - at_, kPiece);
  return all - std::min(all, header);
}

template <typename Look>
uint64_t BlobDownload::ForBlocks(uint64_t begin, uint64_t bytes, Look&& look) const {
  uint64_t passed = 0, last = UINT64_MAX;
  bool on = true;
  slab_.ForRuns(begin, bytes, [&](uint64_t offset, uint64_t length) {
    if (!on) return;
    const uint64_t end = BlockOf(offset + length - 1);
    if (BlockOf(offset) != last || end != last) on = look(offset, length);
    last = end;
    if (on) passed += length;
  });
  return passed;
}

bool BlobDownload::AtHand() const {
  const uint64_t bytes = PieceBytes();
  if (!sends_runs_ && (bytes > kCopiedAtOnce || bytes > kRunsAtOnce * slab_.run_bytes()))
    return false;
  return ForBlocks(Selected(), bytes, [&](uint64_t offset, uint64_t length) {
           return reader_->Checked(offset, length);
         }) == bytes;
}

absl::Status BlobDownload::Gather(std::string* to, const std::atomic<bool>& stop) {
  const uint64_t begin = Selected();
  uint64_t have = 0;
  while (have < to->size() && (have == 0 || !stop)) {
    absl::Status status;
    uint64_t blocks = 0;
    const uint64_t bytes =
        ForBlocks(begin + have, to->size() - have, [&](uint64_t offset, uint64_t length) {
          if (blocks >= kBlocksAtOnce) return false;
          blocks += BlockOf(offset + length - 1) - BlockOf(offset) + 1;
          status = reader_->Check(offset, length);
          return status.ok();
        });
    TIFFIN_RETURN_IF_ERROR(status);
    TIFFIN_RETURN_IF_ERROR(reader_->Gather(slab_, begin + have, bytes, to->data() + have));
    have += bytes;
  }
  to->resize(have);
  return absl::OkStatus();
}

absl::Status BlobDownload::SliceRuns(std::vector<BlobSlice>* to) {
  absl::Status status;
  slab_.ForRuns(Selected(), PieceBytes(), [&](uint64_t offset, uint64_t length) {
    if (status.ok()) status = reader_->Check(offset, length);
    if (!status.ok()) return;
    absl::StatusOr<BlobSlice> slice = reader_->Slice(offset, length);
    status = slice.status();
    if (slice.ok()) to->push_back(*std::move(slice));
  });
  return status;
}

absl::StatusOr<std::vector<BlobSlice>> BlobDownload::Bring(const std::atomic<bool>& stop) {
  std::vector<BlobSlice> slices;
  if (at_ < header_.size()) {
    auto header = std::make_shared<std::string>(header_.substr(at_, end_ - at_));
    slices.push_back({*header, header});
  }
  if (sends_runs_) {
    TIFFIN_RETURN_IF_ERROR(SliceRuns(&slices));
  } else if (const uint64_t bytes = PieceBytes(); bytes > 0) {
    auto gathered = std::make_shared<std::string>(bytes, '\0');
    TIFFIN_RETURN_IF_ERROR(Gather(gathered.get(), stop));
    slices.push_back({*gathered, gathered});
  }
  return slices;
}

absl::StatusOr<std::vector<BlobSlice>> BlobDownload::Next(IfDamaged if_damaged,
                                                          const std::atomic<bool>& stop) {
  absl::StatusOr<std::vector<BlobSlice>> slices = Bring(stop);
  if (!slices.ok()) {
    return if_damaged == IfDamaged::kReport ? blobs_->ReportDamage(blob_.row, slices.status())
                                            : slices.status();
  }
  for (const BlobSlice& slice : *slices) at_ += slice.bytes.size();
  return slices;
}

}  // namespace tiffin::server
