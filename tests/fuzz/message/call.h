// One call as a client makes it, of any method, in bytes.
#ifndef TIFFIN_TESTS_FUZZ_MESSAGE_CALL_H_
#define TIFFIN_TESTS_FUZZ_MESSAGE_CALL_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "tests/fuzz/message/methods.h"
#include "tests/fuzz/message/tokens.h"

namespace tiffin::fuzzing {

// Checks what it is answered: each reply parses and tells of no defect of the server, and so does
// the status at the end. What replies tell goes to `tokens`, which outlive the call. Used by one
// thread.
class Call {
 public:
  Call(const Method& method, grpc::GenericStub& stub, Tokens* tokens);
  ~Call();
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  const Method& method() const { return method_; }
  const std::string& last_reply() const { return last_reply_; }
  // After the names in it were put in place, if it parses.
  void Send(const std::string& message);
  // Takes the replies that are there, or come soon.
  void Look();
  // Nothing more is sent; reads to the end. What waits by design is given up after a while.
  void End();
  void Cancel();

 private:
  enum Event : intptr_t { kNothing, kStarted, kSent, kRead, kFinished };

  static void* Tag(Event event) { return reinterpret_cast<void*>(event); }
  bool WaitFor(Event event);
  void TakeReply(bool ok);
  void CheckItems(const google::protobuf::Message& reply);
  void Finish();
  void Check(bool holds, const char* what, const std::string& details) const;

  const Method& method_;
  Tokens* const tokens_;
  grpc::ClientContext context_;
  grpc::CompletionQueue queue_;
  std::unique_ptr<grpc::GenericClientAsyncReaderWriter> stream_;
  grpc::ByteBuffer reply_;
  std::string last_reply_;
  grpc::Status status_;
  int replies_ = 0;
  bool reading_ = true, writable_ = true, cancelled_ = false;
  bool unreadable_ = false;  // what was sent is no message
};

}  // namespace tiffin::fuzzing

#endif  // TIFFIN_TESTS_FUZZ_MESSAGE_CALL_H_
