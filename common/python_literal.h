// A reader for the few Python literals of `.npy` headers and dtype names: strings, integers, True
// and False, and whatever tuples, lists and dicts the caller takes apart itself.
#ifndef TIFFIN_COMMON_PYTHON_LITERAL_H_
#define TIFFIN_COMMON_PYTHON_LITERAL_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace tiffin {

// Walks through UTF-8 text. Each Take… skips blanks first; errors tell the byte.
class PythonReader {
 public:
  explicit PythonReader(std::string_view text) : text_(text) {}

  // Takes the character if it comes next.
  bool Take(char c);
  // True if the character comes next; takes nothing.
  bool Sees(char c);
  // True if only blanks are left.
  bool AtEnd();

  absl::Status Expect(char c);
  // A string in single or double quotes, with Python's escapes.
  absl::StatusOr<std::string> TakeString();
  // A tuple of integers from 0 to below 2^63: `()`, `(3,)`, `(2, 3)`; at most `max_size`.
  absl::StatusOr<std::vector<uint64_t>> TakeShape(size_t max_size);
  absl::StatusOr<bool> TakeBool();

  // Where the reader stands, to cut out what was read.
  size_t position() const { return position_; }
  absl::Status Error(std::string_view message) const;

 private:
  void SkipBlanks();
  absl::StatusOr<uint64_t> TakeDimension();
  absl::Status TakeEscape(std::string* out);

  std::string_view text_;
  size_t position_ = 0;
};

// repr() of a string, as Python prints it (what Unicode has not assigned is taken as printable).
std::string PythonRepr(std::string_view text);
// repr() of a tuple of integers.
std::string PythonRepr(const std::vector<uint64_t>& tuple);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_PYTHON_LITERAL_H_
