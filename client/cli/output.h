// How answers look: aligned tables for people, one JSON object a line for scripts.
#ifndef TIFFIN_CLIENT_CLI_OUTPUT_H_
#define TIFFIN_CLIENT_CLI_OUTPUT_H_

#include <cstdint>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "client/client.h"
#include "common/npy.h"
#include "common/value.h"
#include "google/protobuf/message.h"

namespace tiffin::cli {

// Rows under a header, each column as wide as its widest cell; columns of numbers are
// right-aligned.
class Table {
 public:
  explicit Table(std::vector<std::string> header) : header_(std::move(header)) {}

  void Add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  bool empty() const { return rows_.empty(); }
  void Print(std::ostream& out) const;

 private:
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// `name  value` lines, names padded to one width.
void PrintFields(const std::vector<std::pair<std::string, std::string>>& fields, std::ostream& out);

// One JSON object on a line of its own.
void PrintLine(const Object& object, std::ostream& out);

// A bar that is redrawn in place, a few times a second; draws nothing unless `enabled`.
class Progress {
 public:
  Progress(std::ostream& err, bool enabled, std::string label, uint64_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void Advance(uint64_t by) { Reach(done_ + by); }
  void Reach(uint64_t done);
  // Removes the bar, so that other lines can follow.
  void Clear();

 private:
  void Draw();

  std::ostream& err_;
  bool enabled_;
  std::string label_;
  uint64_t total_;
  uint64_t done_ = 0;
  absl::Time drawn_ = absl::InfinitePast();
  bool visible_ = false;
};

// `[#####-----]  50 %` with `width` marks.
std::string BarText(uint64_t done, uint64_t total, size_t width);
// `1.5 MiB`.
std::string BytesText(uint64_t bytes);
// RFC 3339 in UTC, to the second; empty for the infinite past.
std::string TimeText(absl::Time time);
// `(10, 3)`, as Python prints a shape.
std::string ShapeText(const Shape& shape);
// At most `width` characters of the value's JSON, with `…` if cut.
std::string Short(const Value& value, size_t width);

// The members of a message under their own names: bytes as base64url, durations in seconds, times
// as RFC 3339, enums by name. What is unset is left out, except numbers and flags.
Object MessageObject(const google::protobuf::Message& message);

// `{"key", "dtype", "shape", …}`.
Object BlobObject(const BlobName& name);
// The result with all that is known of it.
Object ResultObject(const StoredResult& result);
std::string_view KindText(StoredResult::Kind kind);

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_OUTPUT_H_
