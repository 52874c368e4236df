#include "tests/fuzz/message/call.h"

#include <stdlib.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "common/strings.h"
#include "tests/fuzz/fuzzing.h"
#include "tiffin/v1/common.pb.h"

namespace tiffin::fuzzing {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// what does not wait by design is done by then
constexpr auto kHung = std::chrono::seconds(60);
constexpr auto kPatience = std::chrono::milliseconds(10);  // with what does
constexpr auto kGlance = std::chrono::milliseconds(2);     // at a call that stays open

// What a client may be told, whatever it sends to a server that is well.
bool IsFairCode(int code) {
  switch (code) {
    case grpc::StatusCode::OK:
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND:
    case grpc::StatusCode::ALREADY_EXISTS:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::OUT_OF_RANGE:
      return true;
    default:
      return false;
  }
}

std::string Bytes(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  FUZZ_CHECK(buffer.Dump(&slices).ok());
  std::string bytes;
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

}  // namespace

Call::Call(const Method& method, grpc::GenericStub& stub, Tokens* tokens)
    : method_(method), tokens_(tokens) {
  context_.set_deadline(std::chrono::system_clock::now() + kHung);
  stream_ = stub.PrepareCall(&context_, method.path, &queue_);
  stream_->StartCall(Tag(kStarted));
  if (!WaitFor(kStarted)) writable_ = false;
  stream_->Read(&reply_, Tag(kRead));
}

Call::~Call() {
  queue_.Shutdown();
  void* tag;
  bool ok;
  while (queue_.Next(&tag, &ok)) {
  }
}

void Call::Check(bool holds, const char* what, const std::string& details) const {
  if (holds) return;
  std::fprintf(stderr, "%s: does not hold: %s: %s\n", method_.name.c_str(), what, details.c_str());
  std::abort();
}

bool Call::WaitFor(Event event) {
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
    if (tag == Tag(kRead)) TakeReply(ok);
    if (tag == Tag(event)) return ok;
  }
  return false;
}

void Call::TakeReply(bool ok) {
  reading_ = ok;
  if (!ok) return;
  ++replies_;
  last_reply_ = Bytes(reply_);
  const std::unique_ptr<Message> reply = method_.NewResponse();
  Check(reply->ParseFromString(last_reply_), "a reply parses", last_reply_);
  CheckItems(*reply);
  tokens_->Learn(*reply);
  stream_->Read(&reply_, Tag(kRead));
}

// The statuses in a reply obey the same rules as that of a call.
void Call::CheckItems(const Message& reply) {
  if (reply.GetDescriptor() == v1::ItemStatus::descriptor()) {
    const auto& status = static_cast<const v1::ItemStatus&>(reply);
    Check(IsFairCode(status.code()), "the code of an item is fair", status.ShortDebugString());
    Check(status.code() == 0 || !status.message().empty(), "an item's error has a message",
          status.ShortDebugString());
    return;
  }
  std::vector<const FieldDescriptor*> fields;
  reply.GetReflection()->ListFields(reply, &fields);
  for (const FieldDescriptor* field : fields) {
    if (field->message_type() == nullptr) continue;
    if (!field->is_repeated()) {
      CheckItems(reply.GetReflection()->GetMessage(reply, field));
      continue;
    }
    for (int i = 0; i < reply.GetReflection()->FieldSize(reply, field); ++i) {
      CheckItems(reply.GetReflection()->GetRepeatedMessage(reply, field, i));
    }
  }
}

void Call::Send(const std::string& message) {
  const std::unique_ptr<Message> request = method_.NewRequest();
  std::string bytes = message;
  if (request->ParseFromString(message)) {
    tokens_->Expand(request.get());
    bytes = request->SerializeAsString();
    unreadable_ = !request->ParseFromString(bytes);
  } else {
    unreadable_ = true;
  }
  if (!writable_) return;
  const grpc::Slice slice(bytes);
  stream_->Write(grpc::ByteBuffer(&slice, 1), Tag(kSent));
  // False: the server has ended the call.
  writable_ = WaitFor(kSent);
}

void Call::Look() {
  void* tag = nullptr;
  bool ok = false;
  const auto soon = std::chrono::system_clock::now() + kGlance;
  if (reading_ && queue_.AsyncNext(&tag, &ok, soon) == grpc::CompletionQueue::GOT_EVENT)
    TakeReply(ok);
}

void Call::End() {
  if (writable_) {
    stream_->WritesDone(Tag(kSent));
    WaitFor(kSent);
  }
  while (reading_) {
    void* tag = nullptr;
    bool ok = false;
    const auto until = std::chrono::system_clock::now() + kPatience;
    if (!method_.may_wait || cancelled_) {
      WaitFor(kRead);
    } else if (queue_.AsyncNext(&tag, &ok, until) == grpc::CompletionQueue::GOT_EVENT) {
      TakeReply(ok);
    } else {
      context_.TryCancel();
      cancelled_ = true;
    }
  }
  Finish();
}

void Call::Cancel() {
  context_.TryCancel();
  cancelled_ = true;
  while (reading_) WaitFor(kRead);
  Finish();
}

void Call::Finish() {
  stream_->Finish(&status_, Tag(kFinished));
  WaitFor(kFinished);
  const std::string told =
      StrCat("code ", static_cast<int>(status_.error_code()), " '", status_.error_message(), "'");
  static const bool tell = getenv("TIFFIN_FUZZ_TELL") != nullptr;
  if (tell)
    std::fprintf(stderr, "%s: %d replies, %s\n", method_.name.c_str(), replies_, told.c_str());
  if (cancelled_ && status_.error_code() == grpc::StatusCode::CANCELLED) return;
  if (unreadable_ && !method_.descriptor->client_streaming()) {
    // gRPC itself looks at it, and answers without a message.
    Check(!status_.ok(), "what is no message is refused", told);
    return;
  }
  // Its health service calls a name of over 200 bytes INTERNAL.
  if (method_.path.starts_with("/grpc.")) return;
  Check(IsFairCode(status_.error_code()), "the code is fair", told);
  Check(status_.ok() || !status_.error_message().empty(), "an error has a message", told);
  Check(!status_.ok() || method_.descriptor->server_streaming() || replies_ == 1, "OK has a reply",
        told);
}

}  // namespace tiffin::fuzzing
