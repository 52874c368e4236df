// Messages of unary calls with the memory that they count as: gRPC keeps both until the answer is
// with the client.
#ifndef TIFFIN_SERVER_SERVICE_COUNTED_MESSAGES_H_
#define TIFFIN_SERVER_SERVICE_COUNTED_MESSAGES_H_

#include <grpcpp/grpcpp.h>
#include <grpcpp/support/message_allocator.h>

#include "server/service/answered_calls.h"
#include "server/service/byte_budget.h"

namespace tiffin::server {

// What a call holds. A reactor of its own, told in OnDone, would cost each call another thread (a
// fifth of the calls a second that are answered from memory).
struct CountedCall {
  ByteBudget::Share share, answer;
  AnsweredCalls::Place place;
};

// Stateless, thread-safe.
template <typename Request, typename Response>
class CountedMessages : public grpc::MessageAllocator<Request, Response> {
 public:
  struct Holder : grpc::MessageHolder<Request, Response>, CountedCall {
    Holder() {
      this->set_request(&request_message);
      this->set_response(&response_message);
    }
    void Release() override { delete this; }
    Request request_message;
    Response response_message;
  };

  grpc::MessageHolder<Request, Response>* AllocateMessages() override { return new Holder; }
};

// Makes a method of a generated service use them: CountMessages(this,
// &JobsService::SetMessageAllocatorFor_Submit).
template <typename Service, typename Base, typename Request, typename Response>
void CountMessages(Service* service,
                   void (Base::*set)(grpc::MessageAllocator<Request, Response>*)) {
  static CountedMessages<Request, Response> messages;
  (service->*set)(&messages);
}

// Of a call whose method does so.
template <typename Request, typename Response>
CountedCall* CountedCallOf(grpc::CallbackServerContext* context) {
  return static_cast<typename CountedMessages<Request, Response>::Holder*>(
      context->GetRpcAllocatorState());
}

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_COUNTED_MESSAGES_H_
