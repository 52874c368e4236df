// The bytes of a blob: of the server's own file where that can be mapped, else fetched into memory.
#ifndef TIFFIN_CLIENT_MAPPED_BLOB_H_
#define TIFFIN_CLIENT_MAPPED_BLOB_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/statusor.h"

namespace tiffin {

// Immutable; copies share the bytes, which stay while a copy lives, whatever the server does.
class MappedBlob {
 public:
  MappedBlob() = default;
  // Fetched bytes.
  explicit MappedBlob(std::string bytes);
  // Maps bytes [offset, offset + size) of a file, which must be of `file_size` bytes and `inode`:
  // else NOT_FOUND, as if there is no such file.
  static absl::StatusOr<MappedBlob> Map(const std::string& path, uint64_t offset, uint64_t size,
                                        uint64_t file_size, uint64_t inode);

  // C-order bytes. A disk that fails while mapped bytes are read raises SIGBUS, as with any mapped
  // file.
  std::string_view bytes() const { return bytes_; }
  // Whether they are those of the server's file: nothing was copied.
  bool mapped() const { return mapped_; }

 private:
  std::shared_ptr<const void> owner_;
  std::string_view bytes_;
  bool mapped_ = false;
};

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_MAPPED_BLOB_H_
