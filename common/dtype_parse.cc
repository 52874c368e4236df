#include <algorithm>
#include <bit>
#include <charconv>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/escaping.h"
#include "common/dtype.h"
#include "common/dtype_reader.h"
#include "common/status.h"
#include "common/strings.h"
#include "common/utf8.h"

namespace tiffin {
namespace {

constexpr int kMaxNesting = 32;
constexpr size_t kMaxSubRank = 32;
constexpr uint64_t kMaxItemSize = std::numeric_limits<int32_t>::max();
constexpr char kNative = std::endian::native == std::endian::little ? '<' : '>';

absl::Status Unknown(std::string_view name) {
  return absl::InvalidArgumentError(StrCat("\"", absl::CHexEscape(ToAbsl(name.substr(0, 60))),
                                           name.size() > 60 ? "..." : "", "\" is not a dtype"));
}

DType Unordered(char kind, uint64_t item_size) {
  DType d;
  d.kind = kind;
  d.item_size = item_size;
  return d;
}

bool IsOneOf(uint64_t n, std::initializer_list<uint64_t> choices) {
  return std::find(choices.begin(), choices.end(), n) != choices.end();
}

// "[25s]" to "25s"; numpy leaves out a count of 1 and the unit "generic".
absl::StatusOr<std::string> ParseUnit(std::string_view text) {
  if (text.empty()) return std::string();
  if (text.size() < 2 || !text.starts_with('[') || !text.ends_with(']')) return Unknown(text);
  std::string_view unit = text.substr(1, text.size() - 2);
  if (unit == "generic") return std::string();
  int32_t count = 1;
  const auto [end, error] = std::from_chars(unit.data(), unit.data() + unit.size(), count);
  if (error == std::errc()) unit.remove_prefix(static_cast<size_t>(end - unit.data()));
  if (error == std::errc::result_out_of_range || count < 1) return Unknown(text);
  constexpr std::string_view kUnits[] = {"Y",  "M",  "W",  "D",  "h",  "m", "s",
                                         "ms", "us", "ns", "ps", "fs", "as"};
  if (std::find(std::begin(kUnits), std::end(kUnits), unit) == std::end(kUnits)) {
    return Unknown(text);
  }
  return count == 1 ? std::string(unit) : StrCat(count, unit);
}

// `int64`, `datetime64[ns]`: what str() gives for dtypes in the machine's order. Kind 0: not one.
absl::StatusOr<DType> ParseLongName(std::string_view name) {
  DType d;
  d.order = kNative;
  struct Stem {
    std::string_view text;
    char kind;
  };
  if (name == "bool") return Unordered('b', 1);
  if (name == "object") return Unordered('O', 8);
  for (const Stem& stem : {Stem{"datetime64", 'M'}, Stem{"timedelta64", 'm'}}) {
    if (!name.starts_with(stem.text)) continue;
    d.kind = stem.kind;
    d.item_size = 8;
    TIFFIN_ASSIGN_OR_RETURN(d.unit, ParseUnit(name.substr(stem.text.size())));
    return d;
  }
  for (const Stem& stem :
       {Stem{"int", 'i'}, Stem{"uint", 'u'}, Stem{"float", 'f'}, Stem{"complex", 'c'}}) {
    uint32_t bits = 0;
    if (!name.starts_with(stem.text)) continue;
    const std::string_view digits = name.substr(stem.text.size());
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
    if (error != std::errc() || end != digits.data() + digits.size()) return Unknown(name);
    d.kind = stem.kind;
    d.item_size = bits / 8;
    const bool integer = d.kind == 'i' || d.kind == 'u';
    const bool known = integer         ? IsOneOf(bits, {8, 16, 32, 64})
                       : d.kind == 'f' ? IsOneOf(bits, {16, 32, 64, 128})
                                       : IsOneOf(bits, {64, 128, 256});
    if (!known) return Unknown(name);
    if (d.item_size == 1) d.order = '|';
    return d;
  }
  return Unknown(name);
}

// The size behind the letter, in the letter's own measure; 0 if there is none.
absl::StatusOr<uint64_t> TakeCount(std::string_view name, std::string_view* rest) {
  uint64_t count = 0;
  const auto [end, error] = std::from_chars(rest->data(), rest->data() + rest->size(), count);
  if (error == std::errc()) rest->remove_prefix(static_cast<size_t>(end - rest->data()));
  if (error == std::errc::result_out_of_range || count > kMaxItemSize) return Unknown(name);
  return count;
}

// C's type names, which have no count: on 64-bit Linux, where numpy's are the same.
struct TypeCode {
  char letter, kind;
  uint64_t item_size;  // bytes
};
constexpr TypeCode kTypeCodes[] = {
    {'?', 'b', 1},  {'b', 'i', 1},  {'B', 'u', 1}, {'h', 'i', 2}, {'H', 'u', 2},  {'i', 'i', 4},
    {'I', 'u', 4},  {'l', 'i', 8},  {'L', 'u', 8}, {'q', 'i', 8}, {'Q', 'u', 8},  {'p', 'i', 8},
    {'P', 'u', 8},  {'e', 'f', 2},  {'f', 'f', 4}, {'d', 'f', 8}, {'g', 'f', 16}, {'F', 'c', 8},
    {'D', 'c', 16}, {'G', 'c', 32}, {'c', 'S', 1}, {'M', 'M', 8}, {'m', 'm', 8}};

const TypeCode* FindTypeCode(char letter) {
  const auto at = std::find_if(std::begin(kTypeCodes), std::end(kTypeCodes),
                               [letter](const TypeCode& code) { return code.letter == letter; });
  return at == std::end(kTypeCodes) ? nullptr : at;
}

// `<i8`, `S3`, `<d`, `>M8[ns]`: order, letter, count.
absl::StatusOr<DType> ParseShortName(std::string_view name) {
  DType d;
  std::string_view rest = name;
  char order = '=';
  if (!rest.empty() && std::string_view("<>=|").find(rest[0]) != std::string_view::npos) {
    order = rest[0];
    rest.remove_prefix(1);
  }
  if (rest.empty()) return Unknown(name);
  const TypeCode* const code = rest.size() == 1 ? FindTypeCode(rest[0]) : nullptr;
  d.kind = code != nullptr ? code->kind : rest[0] == 'a' ? 'S' : rest[0];
  const bool sized = rest.size() > 1;
  rest.remove_prefix(1);
  TIFFIN_ASSIGN_OR_RETURN(uint64_t count, TakeCount(name, &rest));
  if (code != nullptr) count = code->item_size;
  d.item_size = count;
  bool known = false;
  switch (d.kind) {
    case 'b':
      known = count == 1;
      break;
    case 'i':
    case 'u':
      known = IsOneOf(count, {1, 2, 4, 8});
      break;
    case 'f':
      known = IsOneOf(count, {2, 4, 8, 16});
      break;
    case 'c':
      known = IsOneOf(count, {8, 16, 32});
      break;
    case 'S':
    case 'V':
      known = true;
      break;
    case 'U':
      d.item_size = count * 4;
      known = d.item_size <= kMaxItemSize;
      break;
    case 'O':
      known = !sized || count == 8;
      d.item_size = 8;
      break;
    case 'M':
    case 'm': {
      known = count == 8;
      TIFFIN_ASSIGN_OR_RETURN(d.unit, ParseUnit(rest));
      rest = {};
      break;
    }
    default:
      break;
  }
  if (!known || !rest.empty()) return Unknown(name);
  const bool ordered =
      std::string_view("iufcMmU").find(d.kind) != std::string_view::npos && d.item_size != 1;
  d.order = !ordered ? '|' : order == '<' || order == '>' ? order : kNative;
  return d;
}

absl::StatusOr<DType> ParsePlainName(std::string_view name) {
  // Long names have more than one letter at their start, and short ones never.
  const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const bool is_long = name.size() > 2 && is_letter(name[0]) && is_letter(name[1]);
  return is_long ? ParseLongName(name) : ParseShortName(name);
}

class FieldReader {
 public:
  explicit FieldReader(PythonReader* reader) : r_(*reader) {}

  // A name in quotes, or a list of fields.
  absl::StatusOr<DType> TakeType(int nesting) {
    if (r_.Sees('[')) return TakeFields(nesting);
    TIFFIN_ASSIGN_OR_RETURN(const std::string name, r_.TakeString());
    return ParsePlainName(name);
  }

 private:
  absl::StatusOr<DType> TakeFields(int nesting) {
    if (nesting == kMaxNesting) return r_.Error("fields nested too deep");
    TIFFIN_RETURN_IF_ERROR(r_.Expect('['));
    DType d;
    absl::flat_hash_set<std::string> names;
    while (!r_.Take(']')) {
      TIFFIN_ASSIGN_OR_RETURN(DTypeField field, TakeField(nesting));
      field.offset = d.item_size;
      d.item_size += field.type.total_size();
      if (d.item_size > kMaxItemSize) return r_.Error("an element of 2 GiB or more");
      for (const std::string* name : {&field.name, &field.title}) {
        if (!name->empty() && !names.insert(*name).second) {
          return r_.Error("a name or title used twice");
        }
      }
      Append(std::move(field), &d);
      if (!r_.Take(',') && !r_.Sees(']')) return r_.Error("expected ',' or ']'");
    }
    d.fieldless = d.fields.empty();
    return d;
  }

  static void Append(DTypeField field, DType* d) {
    if (!field.padding()) {
      d->fields.push_back(std::move(field));
      return;
    }
    const uint64_t size = field.type.total_size();
    if (size == 0) return;
    if (!d->fields.empty() && d->fields.back().padding()) {
      d->fields.back().type.item_size += size;
      return;
    }
    field.type = Unordered('V', size);
    d->fields.push_back(std::move(field));
  }

  // `('a', '<i4')`, `(('title', 'a'), '<i4')`, `('b', '<f8', (2,))`.
  absl::StatusOr<DTypeField> TakeField(int nesting) {
    DTypeField field;
    TIFFIN_RETURN_IF_ERROR(r_.Expect('('));
    TIFFIN_RETURN_IF_ERROR(TakeName(&field));
    TIFFIN_RETURN_IF_ERROR(r_.Expect(','));
    std::vector<std::vector<uint64_t>> shapes;
    TIFFIN_ASSIGN_OR_RETURN(field.type, TakeFieldType(nesting, &shapes));
    if (r_.Take(',') && !r_.Sees(')')) {
      TIFFIN_ASSIGN_OR_RETURN(std::vector<uint64_t> shape, r_.TakeShape(kMaxSubRank));
      if (!shape.empty()) shapes.insert(shapes.begin(), std::move(shape));
      r_.Take(',');
    }
    TIFFIN_RETURN_IF_ERROR(r_.Expect(')'));
    if (!shapes.empty()) {
      field.type.sub_shape = std::move(shapes.front());
      field.type.inner_shapes.assign(std::make_move_iterator(shapes.begin() + 1),
                                     std::make_move_iterator(shapes.end()));
    }
    TIFFIN_RETURN_IF_ERROR(CheckSize(field.type));
    if (field.padding() && (field.type.kind != 'V' || field.type.structured())) {
      return r_.Error("a field without a name");
    }
    return field;
  }

  absl::Status TakeName(DTypeField* field) {
    if (r_.Take('(')) {
      TIFFIN_ASSIGN_OR_RETURN(field->title, r_.TakeString());
      TIFFIN_RETURN_IF_ERROR(r_.Expect(','));
      TIFFIN_ASSIGN_OR_RETURN(field->name, r_.TakeString());
      TIFFIN_RETURN_IF_ERROR(r_.Expect(')'));
      if (field->title.empty() || field->name.empty()) return r_.Error("an empty name or title");
      return absl::OkStatus();
    }
    TIFFIN_ASSIGN_OR_RETURN(field->name, r_.TakeString());
    return absl::OkStatus();
  }

  // A type, or a subarray in a tuple, `('<f8', (2,))`, whose shapes go to `shapes`, outer ones
  // first.
  absl::StatusOr<DType> TakeFieldType(int nesting, std::vector<std::vector<uint64_t>>* shapes) {
    if (!r_.Take('(')) return TakeType(nesting + 1);
    if (nesting == kMaxNesting) return r_.Error("subarrays nested too deep");
    std::vector<std::vector<uint64_t>> inner;
    TIFFIN_ASSIGN_OR_RETURN(DType type, TakeFieldType(nesting + 1, &inner));
    TIFFIN_RETURN_IF_ERROR(r_.Expect(','));
    TIFFIN_ASSIGN_OR_RETURN(std::vector<uint64_t> shape, r_.TakeShape(kMaxSubRank));
    r_.Take(',');
    TIFFIN_RETURN_IF_ERROR(r_.Expect(')'));
    if (!shape.empty()) shapes->push_back(std::move(shape));
    shapes->insert(shapes->end(), std::make_move_iterator(inner.begin()),
                   std::make_move_iterator(inner.end()));
    return type;
  }

  // Before total_size() may be called: the product must not overflow.
  absl::Status CheckSize(const DType& type) const {
    uint64_t size = std::max<uint64_t>(type.item_size, 1);
    auto multiply = [&size](const std::vector<uint64_t>& shape) {
      for (const uint64_t n : shape) {
        if (n > kMaxItemSize) return false;
        size *= std::max<uint64_t>(n, 1);
        if (size > kMaxItemSize) return false;
      }
      return true;
    };
    bool fits = multiply(type.sub_shape);
    for (const std::vector<uint64_t>& shape : type.inner_shapes) fits = fits && multiply(shape);
    return fits ? absl::OkStatus() : r_.Error("a field of 2 GiB or more");
  }

  PythonReader& r_;
};

}  // namespace

absl::StatusOr<DType> TakeDescr(PythonReader* reader) { return FieldReader(reader).TakeType(0); }

absl::StatusOr<DType> ParseDType(std::string_view text) {
  if (text.size() > kMaxDTypeName) {
    return absl::InvalidArgumentError(
        StrCat("a dtype of ", text.size(), " bytes, more than the limit of ", kMaxDTypeName));
  }
  if (!text.starts_with('[')) return ParsePlainName(text);
  if (ToValidUtf8(text) != text) return absl::InvalidArgumentError("a dtype that is not UTF-8");
  PythonReader reader(text);
  TIFFIN_ASSIGN_OR_RETURN(DType dtype, TakeDescr(&reader));
  if (!reader.AtEnd()) return reader.Error("expected the end of the dtype");
  return dtype;
}

}  // namespace tiffin
