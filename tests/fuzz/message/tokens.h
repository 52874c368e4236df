// Names in messages for what only the replies can tell: `$Lease.id` in bytes or a string stands for
// the last lease id that a reply of this input had, `$Lease.id~1` for the one before,
// `$$BlobName.key` for that key as base64url. Thereby inputs reach what only a client that listens
// can.
#ifndef TIFFIN_TESTS_FUZZ_MESSAGE_TOKENS_H_
#define TIFFIN_TESTS_FUZZ_MESSAGE_TOKENS_H_

#include <google/protobuf/message.h>

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace tiffin::fuzzing {

inline constexpr int64_t kLastEpoch = -1234;  // stands for it in any int64
// stands for so many bytes, thrice in an input
inline constexpr std::string_view kMebibyte = "$MiB";

class Tokens {
 public:
  // `name_space` is put before each namespace, so that inputs do not meet each other's jobs.
  explicit Tokens(std::string name_space) : name_space_(std::move(name_space)) {}

  void Learn(const google::protobuf::Message& reply);
  // Puts what the names stand for in their places.
  void Expand(google::protobuf::Message* request);

  // The names that replies can give a meaning.
  static const std::vector<std::string>& Names();

 private:
  void Keep(const std::string& name, const std::string& value);
  std::string Expanded(std::string_view text, bool utf8);

  const std::string name_space_;
  std::map<std::string, std::deque<std::string>> values_;  // newest first
  int64_t epoch_ = 0;
  int mebibytes_ = 0;
};

}  // namespace tiffin::fuzzing

#endif  // TIFFIN_TESTS_FUZZ_MESSAGE_TOKENS_H_
