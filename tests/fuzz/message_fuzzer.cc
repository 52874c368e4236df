// What clients send: whatever the messages, and in whatever order the calls, a whole server in this
// process answers each call in time with a code that is the client's to deal with and says why, its
// replies parse, and it serves on. It leaves nothing outside of its folders.
#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "common/strings.h"
#include "tests/fuzz/fuzzing.h"
#include "tests/fuzz/message/call.h"
#include "tests/fuzz/message/frames.h"
#include "tests/fuzz/message/mutator.h"
#include "tests/fuzz/message/served.h"

namespace {

using tiffin::fuzzing::Call;
using tiffin::fuzzing::Frame;
using tiffin::fuzzing::Mutator;
using tiffin::fuzzing::Served;
using tiffin::fuzzing::Then;
using tiffin::fuzzing::Tokens;

constexpr uint64_t kInputsOfOneServer = 2000;  // then its state is large enough

uint64_t inputs = 0;

std::unique_ptr<Served>& Slot() {
  static auto& slot = *new std::unique_ptr<Served>;
  return slot;
}

Served& TheServer() {
  std::unique_ptr<Served>& served = Slot();
  if (inputs++ % kInputsOfOneServer == 0) {
    served.reset();  // before the next: both would need their memory
    served = std::make_unique<Served>();
  }
  return *served;
}

void CheckServing(Served& served) {
  Tokens tokens("");
  Call call(*tiffin::fuzzing::FindMethod("Health.Check"), served.stub(), &tokens);
  call.Send("");
  call.End();
  FUZZ_CHECK(call.last_reply() == "\x08\x01");  // SERVING
}

void Run(const std::vector<Frame>& frames, Served& served) {
  Tokens tokens(tiffin::StrCat(inputs, "/"));
  std::vector<std::unique_ptr<Call>> open;
  for (const Frame& frame : frames) {
    for (const auto& call : open) call->Look();
    auto call = std::find_if(open.begin(), open.end(),
                             [&](const auto& each) { return &each->method() == frame.method; });
    if (call == open.end()) {
      open.push_back(std::make_unique<Call>(*frame.method, served.stub(), &tokens));
      call = open.end() - 1;
    }
    (*call)->Send(frame.message);
    if (frame.then == Then::kMore && frame.method->descriptor->client_streaming()) continue;
    if (frame.then == Then::kCancel) {
      (*call)->Cancel();
    } else {
      (*call)->End();
    }
    open.erase(call);
  }
  for (const auto& call : open) call->End();
}

std::string Changed(Mutator& mutator, std::vector<Frame> frames, size_t max_size) {
  mutator.Change(&frames);
  return WriteFrames(frames, max_size);
}

size_t Put(const std::string& input, uint8_t* out) {
  std::copy(input.begin(), input.end(), out);
  return input.size();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Served& served = TheServer();
  Run(tiffin::fuzzing::ReadFrames(tiffin::fuzzing::Text(data, size)), served);
  CheckServing(served);
  served.CheckFolder();
  // Only now, so that at exit the server stops before what the libraries it uses made for the first
  // input goes.
  static const bool stops = std::atexit([] { Slot().reset(); }) == 0;
  FUZZ_CHECK(stops);
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size,
                                          unsigned seed) {
  Mutator mutator(seed);
  return Put(
      Changed(mutator, tiffin::fuzzing::ReadFrames(tiffin::fuzzing::Text(data, size)), max_size),
      data);
}

extern "C" size_t LLVMFuzzerCustomCrossOver(const uint8_t* one, size_t one_size,
                                            const uint8_t* other, size_t other_size, uint8_t* out,
                                            size_t max_size, unsigned seed) {
  Mutator mutator(seed);
  const auto frames =
      mutator.Cross(tiffin::fuzzing::ReadFrames(tiffin::fuzzing::Text(one, one_size)),
                    tiffin::fuzzing::ReadFrames(tiffin::fuzzing::Text(other, other_size)));
  return Put(WriteFrames(frames, max_size), out);
}
