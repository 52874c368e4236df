// Reading `.npy` and dtypes: what is read is written so that it reads back the same.
#include "common/npy.h"
#include "tests/fuzz/fuzzing.h"

namespace {

void CheckDType(std::string_view text) {
  const auto dtype = tiffin::ParseDType(text);
  if (!dtype.ok()) return;
  const std::string name = tiffin::DTypeName(*dtype);
  if (name.size() > tiffin::kMaxDTypeName) return;
  const auto again = tiffin::ParseDType(name);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(*again == *dtype);
  FUZZ_CHECK(tiffin::DTypeName(*again) == name);
}

void CheckNpy(std::string_view bytes) {
  const auto array = tiffin::ReadNpy(bytes);
  if (!array.ok()) return;
  const auto written = tiffin::WriteNpy(*array);
  FUZZ_CHECK(written.ok());
  const auto again = tiffin::ReadNpy(*written);
  FUZZ_CHECK(again.ok());
  FUZZ_CHECK(again->dtype == array->dtype);
  FUZZ_CHECK(again->shape == array->shape);
  FUZZ_CHECK(again->bytes == array->bytes);
  CheckDType(array->dtype);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = tiffin::fuzzing::Text(data, size);
  if (tiffin::IsNpy(text)) {
    CheckNpy(text);
  } else {
    CheckDType(text);
  }
  return 0;
}
