#include "common/dtype.h"

#include <algorithm>
#include <bit>

#include "common/python_literal.h"
#include "common/strings.h"

namespace tiffin {
namespace {

constexpr char kForeign = std::endian::native == std::endian::little ? '>' : '<';

std::string Unit(const DType& d) {
  return d.unit.empty() ? std::string() : StrCat("[", d.unit, "]");
}

// numpy's dtype.str: `<i8`, `|S3`, `<M8[ns]`.
std::string ArrayProtocolName(const DType& d) {
  const std::string start{d.order, d.kind};
  switch (d.kind) {
    case 'O':
      return start;
    case 'U':
      return StrCat(start, d.item_size / 4);
    default:
      return StrCat(start, d.item_size, Unit(d));
  }
}

// numpy's str(dtype) of one that is not structured.
std::string PlainName(const DType& d) {
  if (d.order == kForeign) return ArrayProtocolName(d);
  switch (d.kind) {
    case 'b':
      return "bool";
    case 'O':
      return "object";
    case 'i':
      return StrCat("int", d.item_size * 8);
    case 'u':
      return StrCat("uint", d.item_size * 8);
    case 'f':
      return StrCat("float", d.item_size * 8);
    case 'c':
      return StrCat("complex", d.item_size * 8);
    case 'M':
      return StrCat("datetime64", Unit(d));
    case 'm':
      return StrCat("timedelta64", Unit(d));
    default:
      return ArrayProtocolName(d);
  }
}

// As str() shows it inside a structured dtype (numpy/core/_dtype.py, _scalar_str).
std::string ShortName(const DType& d) {
  if (d.kind == 'b') return "?";
  std::string name = ArrayProtocolName(d);
  if (name[0] == '|') name.erase(0, 1);
  const bool unsized = d.item_size == 0 && (d.kind == 'S' || d.kind == 'U' || d.kind == 'V');
  if (unsized) name.pop_back();
  return name;
}

enum class Form { kName, kDescr };

std::string FieldsText(const DType& d, Form form);

std::string TypeText(const DType& d, Form form) {
  if (d.structured()) return FieldsText(d, form);
  return PythonRepr(form == Form::kName ? ShortName(d) : ArrayProtocolName(d));
}

std::string FieldText(const DTypeField& field, Form form) {
  std::string out = "(";
  if (field.title.empty()) {
    out += PythonRepr(field.name);
  } else {
    StrAppend(&out, "(", PythonRepr(field.title), ", ", PythonRepr(field.name), ")");
  }
  std::string type = TypeText(field.type, form);
  for (auto shape = field.type.inner_shapes.rbegin(); shape != field.type.inner_shapes.rend();
       ++shape) {
    type = StrCat("(", type, ", ", PythonRepr(*shape), ")");
  }
  StrAppend(&out, ", ", type);
  if (!field.type.sub_shape.empty()) StrAppend(&out, ", ", PythonRepr(field.type.sub_shape));
  return out + ")";
}

std::string FieldsText(const DType& d, Form form) {
  std::string out = "[";
  for (const DTypeField& field : d.fields) {
    if (out.size() > 1) out += ", ";
    out += FieldText(field, form);
  }
  return out + "]";
}

bool HasPaddingOrTitles(const DType& d) {
  return std::any_of(d.fields.begin(), d.fields.end(), [](const DTypeField& f) {
    return f.padding() || !f.title.empty() || HasPaddingOrTitles(f.type);
  });
}

}  // namespace

uint64_t DType::total_size() const {
  uint64_t size = item_size;
  for (const uint64_t n : sub_shape) size *= n;
  for (const std::vector<uint64_t>& shape : inner_shapes) {
    for (const uint64_t n : shape) size *= n;
  }
  return size;
}

// Spelled out: clang 14 fails on a default one that calls itself through DTypeField's.
bool operator==(const DType& a, const DType& b) {
  return a.kind == b.kind && a.order == b.order && a.item_size == b.item_size && a.unit == b.unit &&
         a.fields == b.fields && a.fieldless == b.fieldless && a.sub_shape == b.sub_shape &&
         a.inner_shapes == b.inner_shapes;
}

bool DType::has_object() const {
  if (kind == 'O') return true;
  return std::any_of(fields.begin(), fields.end(),
                     [](const DTypeField& f) { return f.type.has_object(); });
}

std::string DTypeName(const DType& dtype) {
  if (!dtype.structured()) return PlainName(dtype);
  return FieldsText(dtype, HasPaddingOrTitles(dtype) ? Form::kDescr : Form::kName);
}

std::string DTypeDescr(const DType& dtype) { return TypeText(dtype, Form::kDescr); }

}  // namespace tiffin
