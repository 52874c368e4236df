#include "common/python_literal.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "common/status.h"
#include "common/strings.h"
#include "common/utf8.h"

namespace tiffin {
namespace {

// What str.isprintable() denies beyond ASCII, Unicode 14, without what is not assigned.
struct Range {
  uint32_t first, last;
};
constexpr Range kNotPrintable[] = {
    {0x7F, 0xA0},       {0xAD, 0xAD},       {0x600, 0x605},       {0x61C, 0x61C},
    {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x890, 0x891},       {0x8E2, 0x8E2},
    {0x1680, 0x1680},   {0x180E, 0x180E},   {0x2000, 0x200F},     {0x2028, 0x202F},
    {0x205F, 0x2064},   {0x2066, 0x206F},   {0x3000, 0x3000},     {0xD800, 0xF8FF},
    {0xFEFF, 0xFEFF},   {0xFFF9, 0xFFFB},   {0x110BD, 0x110BD},   {0x110CD, 0x110CD},
    {0x13430, 0x13438}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A},   {0xE0001, 0xE0001},
    {0xE0020, 0xE007F}, {0xF0000, 0xFFFFD}, {0x100000, 0x10FFFD},
};

bool IsPrintable(uint32_t cp) {
  if (cp < 0x7F) return cp >= 0x20;
  return std::none_of(std::begin(kNotPrintable), std::end(kNotPrintable),
                      [cp](const Range& r) { return r.first <= cp && cp <= r.last; });
}

void AppendEscape(uint32_t cp, std::string* out) {
  switch (cp) {
    case '\t':
      *out += "\\t";
      return;
    case '\n':
      *out += "\\n";
      return;
    case '\r':
      *out += "\\r";
      return;
    default:
      break;
  }
  if (cp < 0x100) {
    StrAppend(out, "\\x", absl::Hex(cp, absl::kZeroPad2));
  } else if (cp < 0x10000) {
    StrAppend(out, "\\u", absl::Hex(cp, absl::kZeroPad4));
  } else {
    StrAppend(out, "\\U", absl::Hex(cp, absl::kZeroPad8));
  }
}

}  // namespace

void PythonReader::SkipBlanks() {
  while (position_ < text_.size() &&
         absl::ascii_isspace(static_cast<unsigned char>(text_[position_])))
    ++position_;
}

bool PythonReader::Sees(char c) {
  SkipBlanks();
  return position_ < text_.size() && text_[position_] == c;
}

bool PythonReader::Take(char c) {
  if (!Sees(c)) return false;
  ++position_;
  return true;
}

bool PythonReader::AtEnd() {
  SkipBlanks();
  return position_ == text_.size();
}

absl::Status PythonReader::Error(std::string_view message) const {
  return absl::InvalidArgumentError(StrCat(message, " at byte ", position_));
}

absl::Status PythonReader::Expect(char c) {
  if (Take(c)) return absl::OkStatus();
  return Error(StrCat("expected '", std::string(1, c), "'"));
}

absl::StatusOr<std::string> PythonReader::TakeString() {
  // Python 2 wrote some as u'...'.
  const std::string_view next = Sees('u') ? text_.substr(position_ + 1, 1) : std::string_view();
  if (next == "'" || next == "\"") ++position_;
  if (!Sees('\'') && !Sees('"')) return Error("expected a string in quotes");
  const char quote = text_[position_++];
  std::string out;
  while (position_ < text_.size() && text_[position_] != quote) {
    const char c = text_[position_];
    if (c == '\n') break;
    if (c == '\\') {
      TIFFIN_RETURN_IF_ERROR(TakeEscape(&out));
    } else {
      out.push_back(c);
      ++position_;
    }
  }
  if (position_ >= text_.size() || text_[position_] != quote) {
    return Error("a string without its closing quote");
  }
  ++position_;
  if (HasSurrogate(out)) return Error("a string with a lone surrogate");
  return out;
}

absl::Status PythonReader::TakeEscape(std::string* out) {
  constexpr std::string_view kLetters = "\\'\"abfnrtv";
  constexpr std::string_view kMeant = "\\'\"\a\b\f\n\r\t\v";
  constexpr std::string_view kHex = "xuU";
  const std::string_view rest = text_.substr(position_ + 1);
  if (rest.empty()) return Error("a string without its closing quote");
  if (const size_t i = kLetters.find(rest[0]); i != std::string_view::npos) {
    out->push_back(kMeant[i]);
    position_ += 2;
    return absl::OkStatus();
  }
  const size_t which = kHex.find(rest[0]);
  if (which == std::string_view::npos) return Error("an escape that is not known");
  const size_t digits = size_t{2} << which;
  uint32_t cp = 0;
  const std::string_view text = rest.substr(1, digits);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cp, 16);
  if (text.size() != digits || error != std::errc() || end != text.data() + digits ||
      cp > 0x10FFFF) {
    return Error("a malformed escape");
  }
  AppendWtf8(cp, out);
  position_ += 2 + digits;
  return absl::OkStatus();
}

absl::StatusOr<uint64_t> PythonReader::TakeDimension() {
  SkipBlanks();
  if (Sees('-')) return Error("a negative dimension");
  uint64_t value = 0;
  const char* const start = text_.data() + position_;
  const auto [end, error] = std::from_chars(start, text_.data() + text_.size(), value);
  if (error == std::errc::invalid_argument) return Error("expected an integer");
  if (error != std::errc() || value > uint64_t{std::numeric_limits<int64_t>::max()}) {
    return Error("a dimension of 2^63 or more");
  }
  position_ += static_cast<size_t>(end - start);
  // Python 2 wrote long integers as `10L`.
  if (position_ < text_.size() && text_[position_] == 'L') ++position_;
  return value;
}

absl::StatusOr<std::vector<uint64_t>> PythonReader::TakeShape(size_t max_size) {
  TIFFIN_RETURN_IF_ERROR(Expect('('));
  std::vector<uint64_t> shape;
  bool comma = true;  // `(3)` is an integer, not a tuple
  while (!Take(')')) {
    if (!comma) return Error("expected ',' or ')'");
    if (shape.size() == max_size) return Error(StrCat("more than ", max_size, " dimensions"));
    TIFFIN_ASSIGN_OR_RETURN(const uint64_t dimension, TakeDimension());
    shape.push_back(dimension);
    comma = Take(',');
    if (shape.size() == 1 && !comma) return Error("expected ',' after the first dimension");
  }
  return shape;
}

absl::StatusOr<bool> PythonReader::TakeBool() {
  SkipBlanks();
  for (const std::string_view word : {"True", "False"}) {
    if (text_.substr(position_).starts_with(word)) {
      position_ += word.size();
      return word == "True";
    }
  }
  return Error("expected True or False");
}

std::string PythonRepr(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const char quote = has_single && text.find('"') == std::string_view::npos ? '"' : '\'';
  std::string out(1, quote);
  while (!text.empty()) {
    CodePoint cp = DecodeUtf8(text);
    if (cp.length == 0) cp = {0xFFFD, 1};
    if (cp.value == '\\' || cp.value == static_cast<uint32_t>(quote)) {
      out.push_back('\\');
      out.push_back(static_cast<char>(cp.value));
    } else if (IsPrintable(cp.value)) {
      AppendWtf8(cp.value, &out);
    } else {
      AppendEscape(cp.value, &out);
    }
    text.remove_prefix(cp.length);
  }
  out.push_back(quote);
  return out;
}

std::string PythonRepr(const std::vector<uint64_t>& tuple) {
  return StrCat("(", absl::StrJoin(tuple, ", "), tuple.size() == 1 ? ",)" : ")");
}

}  // namespace tiffin
