// What the fuzz targets share. A target is one function, LLVMFuzzerTestOneInput, that any input
// must pass; FUZZ_CHECK states what must hold.
#ifndef TIFFIN_TESTS_FUZZ_FUZZING_H_
#define TIFFIN_TESTS_FUZZ_FUZZING_H_

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "common/json.h"

#define FUZZ_CHECK(condition)                                                             \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);
// For a target's own mutator: libFuzzer's, or that of run_files.cc.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace tiffin::fuzzing {

inline std::string_view Text(const uint8_t* data, size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

// For texts made of what had passed the limits before.
inline JsonLimits WideLimits() {
  JsonLimits limits;
  limits.max_text_bytes = size_t{1} << 30;
  limits.max_nesting = kMaxJsonNesting;
  limits.max_entries = limits.max_integer_digits = limits.max_text_bytes;
  return limits;
}

}  // namespace tiffin::fuzzing

#endif  // TIFFIN_TESTS_FUZZ_FUZZING_H_
