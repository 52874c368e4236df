// A JSON reader of our own: no library keeps lone surrogates, integers of any size, NaN, the kinds
// of numbers and the order of members with last-wins duplicates all at once.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/hash/hash.h"
#include "absl/status/status.h"
#include "absl/strings/charconv.h"
#include "common/json.h"
#include "common/json_scan.h"
#include "common/path.h"
#include "common/strings.h"
#include "common/utf8.h"

namespace tiffin {
namespace {

// Finds repeated keys in linear time. Small objects, which nearly all are, are searched as they
// are.
class KeyIndex {
 public:
  explicit KeyIndex(Object* object) : object_(object), set_(0, Hash{object}, Equal{object}) {}

  // The member of that key, or nullptr.
  Value* Find(std::string_view key) {
    if (object_->size() < kSmall) return object_->Find(key);
    for (; indexed_ < object_->size(); ++indexed_) set_.insert(indexed_);
    auto it = set_.find(key);
    return it == set_.end() ? nullptr : &object_->begin()[static_cast<ptrdiff_t>(*it)].second;
  }

 private:
  static constexpr size_t kSmall = 16;

  // The set holds members' places, which stay valid when the object grows, unlike their addresses.
  static std::string_view KeyAt(const Object* object, size_t place) {
    return object->begin()[static_cast<ptrdiff_t>(place)].first;
  }
  struct Hash {
    using is_transparent = void;
    const Object* object;
    size_t operator()(size_t place) const { return (*this)(KeyAt(object, place)); }
    size_t operator()(std::string_view key) const {
      return absl::Hash<absl::string_view>()(ToAbsl(key));
    }
  };
  struct Equal {
    using is_transparent = void;
    const Object* object;
    bool operator()(size_t a, size_t b) const { return a == b; }
    bool operator()(size_t a, std::string_view b) const { return KeyAt(object, a) == b; }
    bool operator()(std::string_view a, size_t b) const { return a == KeyAt(object, b); }
  };

  Object* object_;
  size_t indexed_ = 0;
  absl::flat_hash_set<size_t, Hash, Equal> set_;
};

// The value of a number that std::from_chars found out of range: infinite, or a signed zero.
double OutOfRange(std::string_view text) {
  double d = 0;
  absl::from_chars(text.data(), text.data() + text.size(), d);
  if (std::abs(d) < 1) return std::copysign(0.0, d);
  return std::copysign(std::numeric_limits<double>::infinity(), d);
}

// Reads by recursive descent, which the nesting limit keeps within the stack. The functions return
// false after Fail(); on the way back each list and object notes where it was.
class Parser {
 public:
  Parser(std::string_view text, const JsonLimits& limits)
      : begin_(text.data()), p_(begin_), end_(begin_ + text.size()), limits_(limits) {
    limits_.max_nesting = std::min(limits_.max_nesting, kMaxJsonNesting);
  }

  absl::StatusOr<Value> Parse() {
    Value value;
    if (!ParseDocument(&value)) return Error();
    return value;
  }

 private:
  bool ParseDocument(Value* value) {
    if (static_cast<size_t>(end_ - begin_) > limits_.max_text_bytes) {
      return Fail(StrCat("the text has ", end_ - begin_, " bytes, more than the limit of ",
                         limits_.max_text_bytes));
    }
    if (!ParseValue(value, 0)) return false;
    SkipSpace();
    return p_ == end_ || Fail("expected the end of the text");
  }

  bool Fail(std::string message, absl::StatusCode code = absl::StatusCode::kInvalidArgument) {
    code_ = code;
    message_ = std::move(message);
    return false;
  }

  absl::Status Error() const {
    std::string path;
    for (auto part = path_.rbegin(); part != path_.rend(); ++part) {
      if (part->is_item) {
        AppendItem(part->index, &path);
      } else {
        AppendMember(part->name, &path);
      }
    }
    return absl::Status(
        code_, StrCat(path, path.empty() ? "" : ": ", message_, " (byte ", p_ - begin_, ")"));
  }

  bool FailItem(size_t index) {
    path_.push_back({.is_item = true, .index = index, .name = {}});
    return false;
  }
  bool FailMember(std::string name) {
    path_.push_back({.is_item = false, .index = 0, .name = std::move(name)});
    return false;
  }

  bool Charge(size_t bytes) {
    tree_bytes_ += bytes;
    if (tree_bytes_ <= limits_.max_tree_bytes) return true;
    return Fail(StrCat("the value takes more than ", limits_.max_tree_bytes, " bytes of memory"),
                absl::StatusCode::kResourceExhausted);
  }
  // Of a string that does not fit into the object itself.
  bool ChargeString(const std::string& s) {
    return s.capacity() <= std::string().capacity() || Charge(s.capacity() + kAllocation);
  }

  void SkipSpace() {
    while (p_ != end_ && (*p_ == ' ' || *p_ == '\n' || *p_ == '\r' || *p_ == '\t')) ++p_;
  }
  bool Take(char c) {
    if (p_ == end_ || *p_ != c) return false;
    ++p_;
    return true;
  }
  bool TakeWord(std::string_view word) {
    if (!std::string_view(p_, static_cast<size_t>(end_ - p_)).starts_with(word)) return false;
    p_ += word.size();
    return true;
  }

  bool ParseValue(Value* out, size_t nesting) {
    SkipSpace();
    if (p_ == end_) return Fail("expected a value, found the end of the text");
    switch (*p_) {
      case '"': {
        std::string s;
        if (!ParseString(&s)) return false;
        *out = Value(std::move(s));
        return true;
      }
      case '{':
        return EnterNested(nesting) && ParseObject(out, nesting + 1);
      case '[':
        return EnterNested(nesting) && ParseList(out, nesting + 1);
      case 't':
        return ParseWord("true", true, out);
      case 'f':
        return ParseWord("false", false, out);
      case 'n':
        return ParseWord("null", nullptr, out);
      case 'N':
        return ParseWord("NaN", std::numeric_limits<double>::quiet_NaN(), out);
      case 'I':
        return ParseWord("Infinity", std::numeric_limits<double>::infinity(), out);
      default:
        return ParseNumber(out);
    }
  }

  bool ParseWord(std::string_view word, Value value, Value* out) {
    if (!TakeWord(word)) return Fail("expected a value");
    *out = std::move(value);
    return true;
  }

  bool EnterNested(size_t nesting) {
    if (nesting < limits_.max_nesting) return true;
    return Fail(StrCat("nested deeper than ", limits_.max_nesting));
  }

  bool CheckEntries(size_t entries) {
    if (entries < limits_.max_entries) return true;
    return Fail(StrCat("more than ", limits_.max_entries, " entries"));
  }

  bool ParseList(Value* out, size_t nesting) {
    ++p_;
    List list;
    SkipSpace();
    if (!Take(']')) {
      do {
        const size_t capacity = list.capacity();
        if (!CheckEntries(list.size())) return false;
        if (!ParseValue(&list.emplace_back(), nesting)) return FailItem(list.size() - 1);
        if (list.capacity() != capacity && !Charge((list.capacity() - capacity) * sizeof(Value))) {
          return false;
        }
        SkipSpace();
      } while (Take(','));
      if (!Take(']')) return Fail("expected ',' or ']'");
    }
    *out = Value(std::move(list));
    return true;
  }

  bool ParseObject(Value* out, size_t nesting) {
    ++p_;
    Object object;
    KeyIndex keys(&object);
    SkipSpace();
    if (!Take('}')) {
      size_t entries = 0;
      do {
        if (!CheckEntries(entries++) || !ParseMember(&object, &keys, nesting)) return false;
        SkipSpace();
      } while (Take(','));
      if (!Take('}')) return Fail("expected ',' or '}'");
    }
    *out = Value(std::move(object));
    return true;
  }

  bool ParseMember(Object* object, KeyIndex* keys, size_t nesting) {
    SkipSpace();
    if (p_ == end_ || *p_ != '"') return Fail("expected a member's name in quotes");
    std::string key;
    if (!ParseString(&key)) return false;
    SkipSpace();
    Value value;
    if (!(Take(':') || Fail("expected ':'")) || !ParseValue(&value, nesting)) {
      return FailMember(std::move(key));
    }
    if (Value* earlier = keys->Find(key)) {
      *earlier = std::move(value);
      return true;
    }
    const size_t capacity = object->capacity();
    object->Append(std::move(key), std::move(value));
    return object->capacity() == capacity ||
           Charge((object->capacity() - capacity) * sizeof(Object::Member));
  }

  bool ParseString(std::string* out) {
    const char* run = ++p_;  // start of what is not copied yet
    while (true) {
      p_ = json_internal::SkipPlain<>(p_, end_);
      if (p_ == end_) return Fail("a string without its closing quote");
      if (*p_ == '"') break;
      if (static_cast<uint8_t>(*p_) < 0x20) return Fail("a control character in a string");
      if (*p_ == '\\') {
        out->append(run, p_);
        if (!ParseEscape(out)) return false;
        run = p_;
        continue;
      }
      const CodePoint cp = DecodeUtf8({p_, static_cast<size_t>(end_ - p_)});
      if (cp.length == 0) return Fail("not UTF-8");
      if (cp.surrogate()) {
        out->append(run, p_);
        AppendWtf8(cp.value, out);
        run = p_ + cp.length;
      }
      p_ += cp.length;
    }
    out->append(run, p_);
    ++p_;
    return ChargeString(*out);
  }

  bool ParseEscape(std::string* out) {
    ++p_;
    if (p_ == end_) return Fail("a string without its closing quote");
    constexpr std::string_view kLetters = "\"\\/bfnrt";
    constexpr std::string_view kMeant = "\"\\/\b\f\n\r\t";
    if (const size_t i = kLetters.find(*p_); i != std::string_view::npos) {
      out->push_back(kMeant[i]);
      ++p_;
      return true;
    }
    if (*p_ != 'u') return Fail("an unknown escape in a string");
    uint32_t unit = 0;
    const char* const digits = p_ + 1;
    if (end_ - digits < 4) return Fail("expected four hexadecimal digits after \\u");
    const auto [stop, error] = std::from_chars(digits, digits + 4, unit, 16);
    if (error != std::errc() || stop != digits + 4) {
      return Fail("expected four hexadecimal digits after \\u");
    }
    p_ = stop;
    AppendWtf8(unit, out);
    return true;
  }

  bool SkipDigits() {
    const char* const start = p_;
    while (p_ != end_ && *p_ >= '0' && *p_ <= '9') ++p_;
    return p_ != start;
  }

  bool ParseNumber(Value* out) {
    const char* const start = p_;
    Take('-');
    if (p_ != start && TakeWord("Infinity")) {
      *out = Value(-std::numeric_limits<double>::infinity());
      return true;
    }
    const char* const digits = p_;
    if (!SkipDigits()) {
      p_ = start;
      return Fail("expected a value");
    }
    if (*digits == '0' && p_ - digits > 1) return Fail("a number with a leading zero");
    const size_t digit_count = static_cast<size_t>(p_ - digits);
    bool integer = true;
    if (Take('.')) {
      integer = false;
      if (!SkipDigits()) return Fail("expected a digit after the decimal point");
    }
    if (Take('e') || Take('E')) {
      integer = false;
      if (!Take('+')) Take('-');
      if (!SkipDigits()) return Fail("expected a digit in the exponent");
    }
    const std::string_view text(start, static_cast<size_t>(p_ - start));
    return integer ? FinishInteger(text, digit_count, out) : FinishDouble(text, out);
  }

  bool FinishInteger(std::string_view text, size_t digit_count, Value* out) {
    int64_t i = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), i).ec == std::errc()) {
      *out = Value(i);
      return true;
    }
    if (digit_count > limits_.max_integer_digits) {
      return Fail(StrCat("an integer of ", digit_count, " digits, more than the limit of ",
                         limits_.max_integer_digits));
    }
    *out = Value(BigInteger{std::string(text)});
    return ChargeString(out->if_big_integer()->digits);
  }

  bool FinishDouble(std::string_view text, Value* out) {
    double d = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), d).ec != std::errc()) {
      d = OutOfRange(text);
    }
    *out = Value(d);
    return true;
  }

  static constexpr size_t kAllocation = 16;  // what an allocation costs beside its bytes

  struct Part {
    bool is_item;
    size_t index;
    std::string name;
  };

  const char* const begin_;
  const char* p_;
  const char* const end_;
  JsonLimits limits_;
  size_t tree_bytes_ = 0;
  absl::StatusCode code_ = absl::StatusCode::kOk;
  std::string message_;
  std::vector<Part> path_;  // innermost first
};

}  // namespace

absl::StatusOr<Value> ParseJson(std::string_view text, const JsonLimits& limits) {
  return Parser(text, limits).Parse();
}

}  // namespace tiffin
