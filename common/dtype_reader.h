// Reading a dtype out of the middle of a Python literal. Internal to dtype_parse.cc and npy.cc.
#ifndef TIFFIN_COMMON_DTYPE_READER_H_
#define TIFFIN_COMMON_DTYPE_READER_H_

#include "absl/status/statusor.h"
#include "common/dtype.h"
#include "common/python_literal.h"

namespace tiffin {

// Takes what stands after 'descr': in an `.npy` header: `'<i8'` or a list of fields.
absl::StatusOr<DType> TakeDescr(PythonReader* reader);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_DTYPE_READER_H_
