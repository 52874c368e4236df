#include "server/blobs/copy_pack.h"

#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>

#include "common/status.h"
#include "server/blobs/pack_file.h"

namespace tiffin::server {
namespace {
constexpr uint64_t kPiece = uint64_t{1} << 20;
}  // namespace

absl::Status CopyPackFile(const std::filesystem::path& from, const std::filesystem::path& to,
                          bool link, const std::function<absl::Status(uint64_t)>& progress) {
  // Whatever keeps it from being a link, a copy may still be possible.
  if (link && ::link(from.c_str(), to.c_str()) == 0) return absl::OkStatus();
  TIFFIN_ASSIGN_OR_RETURN(const std::unique_ptr<PackFile> in, PackFile::Open(from, false));
  TIFFIN_ASSIGN_OR_RETURN(const std::unique_ptr<PackFile> out, PackFile::Create(to));
  TIFFIN_ASSIGN_OR_RETURN(const uint64_t size, in->Size());
  TIFFIN_RETURN_IF_ERROR(out->Reserve(0, size));
  std::string piece;
  for (uint64_t at = 0; at < size; at += kPiece) {
    piece.resize(std::min(kPiece, size - at));
    TIFFIN_RETURN_IF_ERROR(in->Read(piece.data(), piece.size(), at));
    TIFFIN_RETURN_IF_ERROR(out->Write(piece, at));
    out->StartSync(at, piece.size());
    TIFFIN_RETURN_IF_ERROR(progress(at + piece.size()));
  }
  return out->Sync();
}

}  // namespace tiffin::server
