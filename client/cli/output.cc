#include "client/cli/output.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "common/base64.h"
#include "common/json.h"
#include "common/strings.h"
#include "common/utf8.h"

namespace tiffin::cli {
namespace {

// Code points: good enough for aligning what tiffin prints.
size_t Width(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
  }));
}

bool LooksLikeNumber(std::string_view text) {
  return !text.empty() && (text[0] == '-' || (text[0] >= '0' && text[0] <= '9')) &&
         text.find_first_not_of("0123456789.-% sKMGTiB") == std::string_view::npos;
}

}  // namespace

void Table::Print(std::ostream& out) const {
  std::vector<size_t> widths;
  std::vector<bool> numbers;
  for (size_t column = 0; column < header_.size(); ++column) {
    size_t width = Width(header_[column]);
    bool number = !rows_.empty();
    for (const std::vector<std::string>& row : rows_) {
      width = std::max(width, Width(row[column]));
      number = number && LooksLikeNumber(row[column]);
    }
    widths.push_back(width);
    numbers.push_back(number);
  }
  const auto print_row = [&](const std::vector<std::string>& row) {
    std::string line;
    for (size_t column = 0; column < row.size(); ++column) {
      const std::string padding(widths[column] - Width(row[column]), ' ');
      if (column > 0) line += "  ";
      StrAppend(&line, numbers[column] ? padding : "", row[column], numbers[column] ? "" : padding);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  };
  print_row(header_);
  for (const std::vector<std::string>& row : rows_) print_row(row);
}

void PrintFields(const std::vector<std::pair<std::string, std::string>>& fields,
                 std::ostream& out) {
  size_t width = 0;
  for (const auto& [name, value] : fields) width = std::max(width, Width(name));
  for (const auto& [name, value] : fields) {
    out << name << std::string(width - Width(name) + 2, ' ') << value << '\n';
  }
}

void PrintLine(const Object& object, std::ostream& out) {
  out << PrintJson(Value(object)) << std::endl;  // flushed: a script may wait for the line
}

Progress::Progress(std::ostream& err, bool enabled, std::string label, uint64_t total)
    : err_(err), enabled_(enabled), label_(std::move(label)), total_(total) {}

Progress::~Progress() { Clear(); }

void Progress::Reach(uint64_t done) {
  done_ = done;
  if (!enabled_) return;
  const absl::Time now = absl::Now();
  if (now - drawn_ < absl::Milliseconds(100)) return;
  drawn_ = now;
  Draw();
}

void Progress::Clear() {
  if (visible_) err_ << "\r\033[K" << std::flush;
  visible_ = false;
}

void Progress::Draw() {
  err_ << '\r' << label_ << ' ' << BarText(done_, total_, 30) << "\033[K" << std::flush;
  visible_ = true;
}

std::string BarText(uint64_t done, uint64_t total, size_t width) {
  const double part =
      total == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const auto marks = static_cast<size_t>(part * static_cast<double>(width));
  return absl::StrFormat("[%s%s] %3d %%", std::string(marks, '#'), std::string(width - marks, '-'),
                         static_cast<int>(part * 100));
}

std::string BytesText(uint64_t bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) return StrCat(bytes, " B");
  auto value = static_cast<double>(bytes);
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.1f %s", value, kUnits[unit]);
}

std::string TimeText(absl::Time time) {
  if (time == absl::InfinitePast()) return "";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", time, absl::UTCTimeZone());
}

std::string ShapeText(const Shape& shape) {
  std::string text = "(";
  for (size_t i = 0; i < shape.size(); ++i) StrAppend(&text, i == 0 ? "" : ", ", shape[i]);
  return text + (shape.size() == 1 ? ",)" : ")");
}

std::string Short(const Value& value, size_t width) {
  std::string text = PrintJson(value, {.spaces = true, .ascii = true});
  if (text.size() > width) text = text.substr(0, width - 1) + "…";
  return text;
}

Object BlobObject(const BlobName& name) {
  List shape;
  for (uint64_t size : name.shape) shape.emplace_back(size);
  return {{"key", name.key.ToText()}, {"dtype", name.dtype}, {"shape", std::move(shape)}};
}

std::string_view KindText(StoredResult::Kind kind) {
  switch (kind) {
    case StoredResult::Kind::kError:
      return "error";
    case StoredResult::Kind::kWorkflow:
      return "workflow";
    default:
      return "value";
  }
}

Object ResultObject(const StoredResult& result) {
  Object object{{"kind", KindText(result.kind)},
                {"record", result.value},
                {"digest", result.digest.ToText()},
                {"stored", TimeText(result.stored)},
                {"session", result.session},
                {"host", result.host},
                {"compute_time", absl::ToDoubleSeconds(result.compute_time)}};
  if (result.kind == StoredResult::Kind::kError) {
    object.Set("retryable", result.retryable);
    object.Set("exit_status", result.exit_status);
  }
  if (!result.log.empty()) object.Set("log", result.log);
  if (result.linked_to.has_value()) object.Set("linked_to", result.linked_to->ToText());
  return object;
}

}  // namespace tiffin::cli
