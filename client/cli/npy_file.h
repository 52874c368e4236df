// An `.npy` file that is read as it is sent: mapped, so that its size does not matter.
#ifndef TIFFIN_CLIENT_CLI_NPY_FILE_H_
#define TIFFIN_CLIENT_CLI_NPY_FILE_H_

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/npy.h"

namespace tiffin::cli {

// The file must not be cut while it is open: a read beyond its end would kill the program (SIGBUS).
class NpyFile {
 public:
  // WrongUse if it cannot be read; INVALID_ARGUMENT if it is no `.npy` or of a dtype that tiffin
  // does not keep as an array (object).
  static absl::StatusOr<NpyFile> Open(const std::string& path);

  const std::string& dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  // C order. Of a file in Fortran order: a transposed copy in memory.
  std::string_view bytes() const { return bytes_; }

 private:
  std::string dtype_;
  Shape shape_;
  std::shared_ptr<const void> owner_;  // of bytes_
  std::string_view bytes_;
};

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_NPY_FILE_H_
