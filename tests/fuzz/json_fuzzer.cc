// Reading and printing JSON: what is read is printed so that it reads back the same, in every
// style.
#include "common/json.h"
#include "tests/fuzz/fuzzing.h"

using tiffin::JsonStyle;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto value = tiffin::ParseJson(tiffin::fuzzing::Text(data, size));
  if (!value.ok()) {
    FUZZ_CHECK(!value.status().message().empty());
    return 0;
  }
  for (const JsonStyle& style :
       {JsonStyle(), JsonStyle::Python(), JsonStyle::Ujson(), JsonStyle{.ascii = false},
        JsonStyle{.spaces = true, .indent = 2}}) {
    const std::string text = tiffin::PrintJson(*value, style);
    // Printed text may be longer than what was read: escapes, shortest doubles.
    const auto again = tiffin::ParseJson(text, tiffin::fuzzing::WideLimits());
    FUZZ_CHECK(again.ok());
    FUZZ_CHECK(*again == *value);
    FUZZ_CHECK(tiffin::PrintJson(*again, style) == text);
  }
  return 0;
}
