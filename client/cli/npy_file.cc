#include "client/cli/npy_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "client/cli/context.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

struct Mapping {
  std::shared_ptr<const void> owner;
  std::string_view bytes;
};

absl::StatusOr<Mapping> MapOpenFile(int file, const std::string& path) {
  struct stat status;
  if (fstat(file, &status) != 0 || !S_ISREG(status.st_mode)) {
    return WrongUse(StrCat(path, " is no regular file"));
  }
  const auto size = static_cast<size_t>(status.st_size);
  if (size == 0) return Mapping{};
  void* address = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0);
  if (address == MAP_FAILED) return WrongUse(StrCat("cannot map ", path, ": ", strerror(errno)));
  madvise(address, size, MADV_SEQUENTIAL);
  Mapping mapping;
  mapping.owner = std::shared_ptr<const void>(
      address, [size](const void* p) { munmap(const_cast<void*>(p), size); });
  mapping.bytes = {static_cast<const char*>(address), size};
  return mapping;
}

absl::StatusOr<Mapping> MapFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return WrongUse(StrCat("cannot read ", path, ": ", std::strerror(errno)));
  absl::StatusOr<Mapping> mapping = MapOpenFile(file, path);
  close(file);
  return mapping;
}

}  // namespace

absl::StatusOr<NpyFile> NpyFile::Open(const std::string& path) {
  TIFFIN_ASSIGN_OR_RETURN(Mapping mapping, MapFile(path));
  const absl::StatusOr<NpyHeader> header = ReadNpyHeader(mapping.bytes);
  if (!header.ok()) return Annotate(header.status(), path);
  NpyFile file;
  if (header->fortran_order || header->dtype.has_object()) {
    absl::StatusOr<Array> array = ReadNpy(mapping.bytes);
    if (!array.ok()) return Annotate(array.status(), path);
    const auto owned = std::make_shared<const Array>(*std::move(array));
    file.dtype_ = owned->dtype;
    file.shape_ = owned->shape;
    file.bytes_ = owned->bytes;
    file.owner_ = owned;
    return file;
  }
  file.dtype_ = DTypeName(header->dtype);
  file.shape_ = header->shape;
  file.bytes_ = mapping.bytes.substr(header->data_offset);
  file.owner_ = mapping.owner;
  const absl::StatusOr<uint64_t> size = ArrayBytes(header->dtype, header->shape);
  if (!size.ok()) return Annotate(size.status(), path);
  if (*size != file.bytes_.size()) {
    return absl::InvalidArgumentError(StrCat(path, ": the header announces ", *size, " bytes, but ",
                                             file.bytes_.size(), " follow"));
  }
  return file;
}

}  // namespace tiffin::cli
