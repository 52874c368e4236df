#include "server/blobs/blob_store.h"

#include "common/status.h"

namespace tiffin::server {

std::string_view PackOf(std::string_view location) {
  return location.substr(0, location.find(':'));
}

absl::StatusOr<std::string> ReadAll(BlobReader& reader, uint64_t size) {
  TIFFIN_RETURN_IF_ERROR(reader.Check(0, size));
  std::string bytes(size, '\0');
  TIFFIN_RETURN_IF_ERROR(reader.Gather(Slab::Whole({size}, 1), 0, size, bytes.data()));
  return bytes;
}

}  // namespace tiffin::server
