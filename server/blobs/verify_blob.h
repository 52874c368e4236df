// Reading a blob only to see whether it is sound.
#ifndef TIFFIN_SERVER_BLOBS_VERIFY_BLOB_H_
#define TIFFIN_SERVER_BLOBS_VERIFY_BLOB_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/blobs/blob_store.h"
#include "server/blobs/pack_file.h"

namespace tiffin::server {

// See BlobStore::Verify. Reads by system calls, not by a mapping: what cannot be read is an error,
// no signal, and what was checked in a mapping is read again.
absl::StatusOr<std::vector<DamagedRange>> VerifyBlobIn(
    const PackFile& file, uint64_t offset, uint64_t size, std::string_view checksums,
    const std::function<absl::Status(std::string_view bytes)>& on_block);

// The checksums of bytes that have the name's key; nullopt: they have not, or cannot be read.
std::optional<std::string> ChecksumsOfKey(const PackFile& file, uint64_t offset, uint64_t size,
                                          const BlobName& name);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_VERIFY_BLOB_H_
