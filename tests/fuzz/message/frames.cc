#include "tests/fuzz/message/frames.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "common/strings.h"

namespace tiffin::fuzzing {
namespace {

constexpr size_t kMaxFrames = 64;

}  // namespace

std::vector<Frame> ReadFrames(std::string_view input) {
  std::vector<Frame> frames;
  while (frames.size() < kMaxFrames) {
    const size_t end = input.find('\n');
    if (end == std::string_view::npos) break;
    const std::vector<std::string> words =
        absl::StrSplit(absl::string_view(input.data(), end), ' ');
    input.remove_prefix(end + 1);
    size_t size = 0;
    if (words.size() != 3 || words[1].size() != 1 || !absl::SimpleAtoi(words[2], &size)) break;
    const Method* method = FindMethod(words[0]);
    const Then then{words[1][0]};
    if (method == nullptr || size > input.size()) break;
    if (then != Then::kEnd && then != Then::kMore && then != Then::kCancel) break;
    frames.push_back({method, then, std::string(input.substr(0, size))});
    input.remove_prefix(size);
  }
  return frames;
}

std::string WriteFrames(const std::vector<Frame>& frames, size_t max_size) {
  std::string out;
  for (const Frame& frame : frames) {
    const std::string line =
        StrCat(frame.method->name, " ", std::string(1, static_cast<char>(frame.then)), " ",
               frame.message.size(), "\n");
    if (out.size() + line.size() + frame.message.size() > max_size) break;
    out += line + frame.message;
  }
  return out;
}

}  // namespace tiffin::fuzzing
