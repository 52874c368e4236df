// Reading and printing JSON text, as written by Python's json and by ujson.
#ifndef TIFFIN_COMMON_JSON_H_
#define TIFFIN_COMMON_JSON_H_

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/value.h"

namespace tiffin {

// No reading goes deeper, whatever the limits say: values are read, walked and freed by recursion.
inline constexpr size_t kMaxJsonNesting = 1000;

// Limits on what a client may send. Exceeding the text size, the nesting, the entries or the digits
// is INVALID_ARGUMENT.
struct JsonLimits {
  size_t max_text_bytes = 16 << 20;
  size_t max_nesting = 200;             // lists and objects inside each other; <= kMaxJsonNesting
  size_t max_entries = 1'000'000;       // of one list or object
  size_t max_integer_digits = 100'000;  // converting them takes time that grows with the square
  // Of the parsed tree (all nodes and strings), so that a small text cannot take much memory:
  // RESOURCE_EXHAUSTED.
  size_t max_tree_bytes = 512 << 20;
};

// Reads one JSON value and nothing after it but white space. Beyond RFC 8259 it takes NaN,
// Infinity, -Infinity, integers of any size, lone surrogates (`\ud800`, also as raw WTF-8) and
// duplicate keys (the last wins). A number without '.', 'e', 'E' is an integer (-0 is 0), any other
// a double (1e400 is Infinity). Invalid UTF-8 is refused.
//
// Errors: INVALID_ARGUMENT (RESOURCE_EXHAUSTED for max_tree_bytes) naming the path in the value and
// the byte offset, e.g. `arguments[3].data: expected ':' (byte 120)`.
absl::StatusOr<Value> ParseJson(std::string_view text, const JsonLimits& limits = {});

// How the text looks; the value read back is the same with each.
struct JsonStyle {
  bool spaces = false;          // ", " and ": " between items, as Python's json does
  bool ascii = true;            // beyond ASCII as \uXXXX; lone surrogates are always escaped
  bool escape_slash = false;    // "\/", as ujson does
  bool escape_delete = false;   // U+007F as \u007f, as Python's json does
  bool short_exponent = false;  // 1e-7 as ujson does, not 1e-07
  bool sort_keys = false;       // by Unicode code point, as Python sorts
  int indent = -1;              // spaces per level, on lines of their own; -1: one line

  // As json.dumps of Python and of ujson 5.7 print by default.
  static JsonStyle Python() { return {.spaces = true, .escape_delete = true}; }
  static JsonStyle Ujson() { return {.escape_slash = true, .short_exponent = true}; }
};

// Doubles are printed in the shortest form that reads back the same and never look like integers:
// 1.0, 1e+16, NaN, Infinity (Python's repr).
std::string PrintJson(const Value& value, const JsonStyle& style = {});

// Appends `s` as a JSON string with its quotes.
void AppendJsonString(std::string_view s, const JsonStyle& style, std::string* out);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_JSON_H_
