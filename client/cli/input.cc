#include "client/cli/input.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/numbers.h"
#include "client/cli/context.h"
#include "common/base64.h"
#include "common/json.h"
#include "common/status.h"

namespace tiffin::cli {
namespace {

constexpr std::string_view kBlanks = " \t\r\n";

bool Blank(std::string_view text) {
  return text.find_first_not_of(kBlanks) == std::string_view::npos;
}

// The text up to the end of its first line that holds anything; the rest of it in `*rest`.
std::string_view FirstLine(std::string_view text, std::string_view* rest) {
  const size_t start = std::min(text.find_first_not_of(kBlanks), text.size());
  const size_t end = std::min(text.find('\n', start), text.size());
  *rest = text.substr(end);
  return text.substr(start, end - start);
}

}  // namespace

absl::StatusOr<std::string> ReadInput(const std::string& path, std::istream& in) {
  if (path == "-") return std::string(std::istreambuf_iterator<char>(in), {});
  std::ifstream file(path, std::ios::binary);
  if (!file) return WrongUse(StrCat("cannot read ", path, ": ", std::strerror(errno)));
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) return WrongUse(StrCat("cannot read ", path));
  return text;
}

absl::StatusOr<std::vector<Value>> ParseValues(std::string_view text, std::string_view name) {
  std::vector<Value> values;
  std::string_view rest;
  const std::string_view first = FirstLine(text, &rest);
  if (Blank(rest) || !ParseJson(first).ok()) {
    absl::StatusOr<Value> value = ParseJson(text);
    if (!value.ok()) return Annotate(value.status(), name);
    values.push_back(*std::move(value));
    return values;
  }
  size_t number = 0;
  for (size_t start = 0; start < text.size(); ++number) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view line = text.substr(start, end - start);
    start = end + 1;
    if (Blank(line)) continue;
    absl::StatusOr<Value> value = ParseJson(line);
    if (!value.ok()) return Annotate(value.status(), StrCat(name, ":", number + 1));
    values.push_back(*std::move(value));
  }
  return values;
}

absl::StatusOr<std::vector<Value>> ReadValues(const std::vector<std::string>& paths,
                                              std::istream& in) {
  std::vector<Value> all;
  for (const std::string& path : paths.empty() ? std::vector<std::string>{"-"} : paths) {
    TIFFIN_ASSIGN_OR_RETURN(const std::string text, ReadInput(path, in));
    const std::string name = path == "-" ? "standard input" : path;
    TIFFIN_ASSIGN_OR_RETURN(std::vector<Value> values, ParseValues(text, name));
    for (Value& value : values) all.push_back(std::move(value));
  }
  return all;
}

absl::StatusOr<Value> ReadValue(const std::string& argument, std::istream& in) {
  if (argument.starts_with('{')) return ParseJson(argument);
  TIFFIN_ASSIGN_OR_RETURN(const std::string text, ReadInput(argument, in));
  absl::StatusOr<Value> value = ParseJson(text);
  if (!value.ok()) return Annotate(value.status(), argument == "-" ? "standard input" : argument);
  return value;
}

absl::StatusOr<Digest> ParseKey(const std::string& text) {
  // The blank is ShieldKeys'.
  absl::StatusOr<Digest> key = Digest::FromText(text.starts_with(' ') ? text.substr(1) : text);
  if (!key.ok()) {
    return WrongUse(StrCat("'", text, "' is no key: 44 characters of padded base64url"));
  }
  return key;
}

absl::StatusOr<std::string> ParseBytes(const std::string& text) {
  std::optional<std::string> bytes = Base64UrlDecode(text);
  if (!bytes.has_value()) return WrongUse(StrCat("'", text, "' is not padded base64url"));
  return *std::move(bytes);
}

absl::StatusOr<absl::Duration> ParseDuration(const std::string& text) {
  double seconds = 0;
  absl::Duration duration;
  if (absl::SimpleAtod(text, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    return WrongUse(StrCat("'", text, "' is no duration: write 30, 1.5s, 200ms or 1h"));
  }
  if (duration < absl::ZeroDuration()) return WrongUse(StrCat("'", text, "' is negative"));
  return duration;
}

}  // namespace tiffin::cli
