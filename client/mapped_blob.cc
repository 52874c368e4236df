#include "client/mapped_blob.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "common/strings.h"

namespace tiffin {

MappedBlob::MappedBlob(std::string bytes) {
  auto owner = std::make_shared<const std::string>(std::move(bytes));
  bytes_ = *owner;
  owner_ = std::move(owner);
}

absl::StatusOr<MappedBlob> MappedBlob::Map(const std::string& path, uint64_t offset, uint64_t size,
                                           uint64_t file_size, uint64_t inode) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return absl::NotFoundError(StrCat(path, ": cannot be opened here"));
  const absl::Cleanup close_it = [fd] { close(fd); };
  struct stat file;
  if (fstat(fd, &file) != 0 || static_cast<uint64_t>(file.st_size) != file_size ||
      file.st_ino != inode || offset > file_size || size > file_size - offset) {
    return absl::NotFoundError(StrCat(path, ": another file than the server's"));
  }
  MappedBlob blob;
  blob.mapped_ = true;
  if (size == 0) return blob;
  const uint64_t page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
  const uint64_t before = offset % page;  // mappings start at a page
  void* memory =
      mmap(nullptr, before + size, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(offset - before));
  if (memory == MAP_FAILED) return absl::NotFoundError(StrCat(path, ": cannot be mapped here"));
  blob.owner_ = std::shared_ptr<const void>(
      memory, [length = before + size](const void* at) { munmap(const_cast<void*>(at), length); });
  blob.bytes_ = {static_cast<const char*>(memory) + before, size};
  return blob;
}

}  // namespace tiffin
