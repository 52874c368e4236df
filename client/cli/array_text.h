// Small arrays as values that people and scripts can read.
#ifndef TIFFIN_CLIENT_CLI_ARRAY_TEXT_H_
#define TIFFIN_CLIENT_CLI_ARRAY_TEXT_H_

#include <optional>

#include "common/npy.h"
#include "common/value.h"

namespace tiffin::cli {

// The elements as nested lists, as numpy's tolist() has them; complex numbers as [real, imaginary],
// strings without the zeros that pad them. nullopt for dtypes that JSON has no word for
// (structured, void, long double, times) and for arrays whose bytes do not fit their shape.
std::optional<Value> ArrayValues(const Array& array);

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_ARRAY_TEXT_H_
