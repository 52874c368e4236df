// numpy's dtypes: reading and writing their names, sizes, and the fields of structured ones.
// Source of the rules: numpy.lib.format (the `.npy` header's `descr`) and numpy's str(dtype).
#ifndef TIFFIN_COMMON_DTYPE_H_
#define TIFFIN_COMMON_DTYPE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace tiffin {

struct DTypeField;

// One dtype. `kind` is numpy's letter: b bool, i int, u uint, f float, c complex, S bytes, U text,
// M datetime64, m timedelta64, V void or structured, O object.
struct DType {
  char kind = 'V';
  char order = '|';                 // '<', '>', or '|' where it does not count
  uint64_t item_size = 0;           // bytes of one element, subarray not counted
  std::string unit;                 // of M and m: "ns", "25s", or empty
  std::vector<DTypeField> fields;   // structured: in the order of their offsets, padding included
  bool fieldless = false;           // structured, and there are none: `[]`, of no bytes
  std::vector<uint64_t> sub_shape;  // of a field: its subarray's shape, else empty
  // Of a subarray whose elements are subarrays themselves, `('<f8', (2,)), (3,)`: their shapes,
  // outer ones first, here {{2}}. Mostly empty.
  std::vector<std::vector<uint64_t>> inner_shapes;

  bool structured() const { return kind == 'V' && (fieldless || !fields.empty()); }
  // Bytes of one element with its subarray.
  uint64_t total_size() const;
  // True if an object ('O') is at any depth: the bytes are pointers or pickles.
  bool has_object() const;

  friend bool operator==(const DType&, const DType&);
};

struct DTypeField {
  std::string name;   // empty: padding
  std::string title;  // numpy's second name, mostly empty
  DType type;
  uint64_t offset = 0;

  // Padding has no name, and numpy keeps no field for it.
  bool padding() const { return name.empty(); }
  friend bool operator==(const DTypeField&, const DTypeField&) = default;
};

// The longest name that ParseDType takes, in bytes.
inline constexpr size_t kMaxDTypeName = 64 << 10;

// Reads a dtype's name as DESIGN.md 3 has it (`int64`, `>f8`, `<U5`, `datetime64[ns]`, `[('a',
// '<i4')]`) or the `descr` of an `.npy` header (`'<i8'` without the quotes, or a list).
// Neighbouring padding becomes one field, '|' on a number means the machine's order, as in numpy.
// INVALID_ARGUMENT for anything else, saying what and where. Nesting up to 32, names up to
// kMaxDTypeName, elements below 2 GiB (numpy's limit).
absl::StatusOr<DType> ParseDType(std::string_view text);

// The one name of DESIGN.md 3: str(dtype) for plain and packed structured dtypes, the header's
// `descr` text for structured ones with padding or titles at any depth.
// ParseDType(DTypeName(d)) gives d again.
std::string DTypeName(const DType& dtype);

// What numpy.lib.format writes after 'descr': in the header, e.g. `'<i8'` (with its quotes).
std::string DTypeDescr(const DType& dtype);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_DTYPE_H_
