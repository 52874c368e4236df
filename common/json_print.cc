#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "common/json.h"
#include "common/json_scan.h"
#include "common/strings.h"
#include "common/utf8.h"

namespace tiffin {
namespace {

void AppendUnit(uint32_t unit, std::string* out) {
  constexpr std::string_view kHex = "0123456789abcdef";
  const char escape[] = {
      '\\', 'u', kHex[unit >> 12], kHex[unit >> 8 & 15], kHex[unit >> 4 & 15], kHex[unit & 15]};
  out->append(escape, sizeof(escape));
}

void AppendEscapedCodePoint(uint32_t cp, std::string* out) {
  if (cp < 0x10000) return AppendUnit(cp, out);
  AppendUnit(0xD800 + ((cp - 0x10000) >> 10), out);
  AppendUnit(0xDC00 + ((cp - 0x10000) & 0x3FF), out);
}

const char* SkipPlain(const char* p, const char* end, const JsonStyle& style) {
  using json_internal::SkipPlain;
  if (style.escape_slash) return SkipPlain<'/', 0x7F>(p, end);
  return SkipPlain<0x7F>(p, end);
}

// One character that is not plain; returns how many bytes it took.
size_t AppendSpecial(std::string_view rest, const JsonStyle& style, std::string* out) {
  constexpr std::string_view kNamed = "\"\\\b\f\n\r\t";
  constexpr std::string_view kLetters = "\"\\bfnrt";
  if (const size_t i = kNamed.find(rest[0]); i != std::string_view::npos) {
    out->push_back('\\');
    out->push_back(kLetters[i]);
    return 1;
  }
  if (rest[0] == '/') {
    *out += "\\/";
    return 1;
  }
  CodePoint cp = DecodeUtf8(rest);
  if (cp.length == 0) cp = {0xFFFD, 1};  // no string that ParseJson made
  const bool escape = cp.value < 0x20 || cp.surrogate() ||
                      (style.escape_delete && cp.value == 0x7F) ||
                      (style.ascii && cp.value >= 0x80);
  if (escape) {
    AppendEscapedCodePoint(cp.value, out);
  } else {
    AppendWtf8(cp.value, out);
  }
  return cp.length;
}

// Python's repr(): the shortest digits that read back the same, positional from 1e-4 to below 1e16.
void AppendDouble(double d, const JsonStyle& style, std::string* out) {
  if (std::isnan(d)) {
    *out += "NaN";
    return;
  }
  if (std::isinf(d)) {
    *out += d < 0 ? "-Infinity" : "Infinity";
    return;
  }
  char buffer[32];
  const auto result =
      std::to_chars(buffer, buffer + sizeof(buffer), std::abs(d), std::chars_format::scientific);
  const std::string_view text(buffer, static_cast<size_t>(result.ptr - buffer));
  const size_t e = text.find('e');
  int exponent = 0;
  std::from_chars(text.data() + e + 2, result.ptr, exponent);
  if (text[e + 1] == '-') exponent = -exponent;
  std::string digits(1, text[0]);
  if (e > 2) digits += text.substr(2, e - 2);

  if (std::signbit(d)) out->push_back('-');
  if (exponent >= 16 || exponent < -4) {
    out->push_back(digits[0]);
    if (digits.size() > 1) StrAppend(out, ".", digits.substr(1));
    const int magnitude = std::abs(exponent);
    StrAppend(out, exponent < 0 ? "e-" : "e+", magnitude < 10 && !style.short_exponent ? "0" : "",
              magnitude);
  } else if (exponent < 0) {
    StrAppend(out, "0.", std::string(static_cast<size_t>(-exponent - 1), '0'), digits);
  } else {
    const size_t whole = static_cast<size_t>(exponent) + 1;
    if (digits.size() <= whole) digits.append(whole + 1 - digits.size(), '0');
    StrAppend(out, digits.substr(0, whole), ".", digits.substr(whole));
  }
}

class Printer {
 public:
  Printer(const JsonStyle& style, std::string* out)
      : style_(style),
        comma_(style.spaces && style.indent < 0 ? ", " : ","),
        colon_(style.spaces || style.indent >= 0 ? ": " : ":"),
        out_(out) {}

  void Print(const Value& value) {
    std::visit([this](const auto& v) { Print(v); }, value.variant());
  }

 private:
  void Print(std::monostate) { *out_ += "null"; }
  void Print(bool b) { *out_ += b ? "true" : "false"; }
  void Print(int64_t i) { StrAppend(out_, i); }
  void Print(const BigInteger& i) { *out_ += i.digits; }
  void Print(double d) { AppendDouble(d, style_, out_); }
  void Print(const std::string& s) { AppendJsonString(s, style_, out_); }

  void Print(const List& list) {
    if (list.empty()) {
      *out_ += "[]";
      return;
    }
    out_->push_back('[');
    ++level_;
    bool first = true;
    for (const Value& item : list) {
      StartEntry(&first);
      Print(item);
    }
    --level_;
    StartLine();
    out_->push_back(']');
  }

  void Print(const Object& object) {
    if (object.empty()) {
      *out_ += "{}";
      return;
    }
    out_->push_back('{');
    ++level_;
    bool first = true;
    if (style_.sort_keys) {
      for (const Object::Member* m : Sorted(object)) PrintMember(*m, &first);
    } else {
      for (const Object::Member& m : object) PrintMember(m, &first);
    }
    --level_;
    StartLine();
    out_->push_back('}');
  }

  // The order of WTF-8's bytes is that of the code points, which Python sorts by.
  static std::vector<const Object::Member*> Sorted(const Object& object) {
    std::vector<const Object::Member*> members;
    members.reserve(object.size());
    for (const Object::Member& m : object) members.push_back(&m);
    std::sort(members.begin(), members.end(),
              [](const auto* a, const auto* b) { return a->first < b->first; });
    return members;
  }

  void PrintMember(const Object::Member& member, bool* first) {
    StartEntry(first);
    AppendJsonString(member.first, style_, out_);
    *out_ += colon_;
    Print(member.second);
  }

  void StartEntry(bool* first) {
    if (!*first) *out_ += comma_;
    *first = false;
    StartLine();
  }

  void StartLine() {
    if (style_.indent < 0) return;
    out_->push_back('\n');
    out_->append(level_ * static_cast<size_t>(style_.indent), ' ');
  }

  const JsonStyle& style_;
  const std::string_view comma_;
  const std::string_view colon_;
  size_t level_ = 0;
  std::string* out_;
};

}  // namespace

void AppendJsonString(std::string_view s, const JsonStyle& style, std::string* out) {
  out->push_back('"');
  const char* p = s.data();
  const char* const end = p + s.size();
  while (true) {
    const char* const special = SkipPlain(p, end, style);
    out->append(p, special);
    if (special == end) break;
    p = special + AppendSpecial({special, static_cast<size_t>(end - special)}, style, out);
  }
  out->push_back('"');
}

std::string PrintJson(const Value& value, const JsonStyle& style) {
  std::string out;
  Printer(style, &out).Print(value);
  return out;
}

}  // namespace tiffin
