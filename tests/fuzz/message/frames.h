// What an input of message_fuzzer is: frames, each a line of text and a message's bytes, for
// instance
//   Jobs.SubmitBatch + 17
// and 17 bytes. The line stays what it means when rpcs are added.
#ifndef TIFFIN_TESTS_FUZZ_MESSAGE_FRAMES_H_
#define TIFFIN_TESTS_FUZZ_MESSAGE_FRAMES_H_

#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/message/methods.h"

namespace tiffin::fuzzing {

enum class Then : char {
  kEnd = '.',     // nothing more is sent, and the answers are read
  kMore = '+',    // the call stays open: the next frame of this method belongs to it
  kCancel = 'x',  // the call is given up
};

struct Frame {
  const Method* method;
  Then then;
  std::string message;
};

// Up to the first that cannot be read.
std::vector<Frame> ReadFrames(std::string_view input);
// As many from the front as `max_size` bytes hold.
std::string WriteFrames(const std::vector<Frame>& frames, size_t max_size);

}  // namespace tiffin::fuzzing

#endif  // TIFFIN_TESTS_FUZZ_MESSAGE_FRAMES_H_
