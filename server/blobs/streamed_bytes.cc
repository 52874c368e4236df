#include "server/blobs/streamed_bytes.h"

#include "common/status.h"

namespace tiffin::server {
namespace {
constexpr uint64_t kSyncAhead = uint64_t{8} << 20;
}  // namespace

absl::Status StreamedBytes::Append(std::span<const std::string_view> parts) {
  uint64_t bytes = 0;
  for (const std::string_view part : parts) bytes += part.size();
  if (bytes > size_ - written_) {
    return absl::InvalidArgumentError(StrCat("more than the ", size_, " bytes announced"));
  }
  TIFFIN_RETURN_IF_ERROR(file_->Write(parts, base_ + written_));
  for (const std::string_view part : parts) checksums_.Update(part);
  written_ += bytes;
  if (written_ - sync_started_ >= kSyncAhead) {
    file_->StartSync(base_ + sync_started_, written_ - sync_started_);
    sync_started_ = written_;
  }
  return absl::OkStatus();
}

absl::Status StreamedBytes::CheckComplete() const {
  if (written_ == size_) return absl::OkStatus();
  return absl::InvalidArgumentError(StrCat(written_, " of ", size_, " bytes were written"));
}

}  // namespace tiffin::server
