#include "tests/bench/blobs/raw_client.h"

#include <algorithm>
#include <stdexcept>

#include "server/service/raw_messages.h"

namespace tiffin::bench {
namespace {

constexpr size_t kMessage = 1 << 20;

std::shared_ptr<grpc::Channel> Channel(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.enable_retries", 0);
  arguments.SetMaxReceiveMessageSize(20 << 20);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 2 << 20);  // as the client library's
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);             // a connection of its own
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

void* Tag() { return reinterpret_cast<void*>(1); }

void Check(const grpc::Status& status) {
  if (!status.ok()) throw std::runtime_error("rpc failed: " + status.error_message());
}

}  // namespace

RawClient::RawClient(const std::string& address) : channel_(Channel(address)), stub_(channel_) {}

bool RawClient::Step() {
  void* tag = nullptr;
  bool ok = false;
  if (!queue_.Next(&tag, &ok)) throw std::runtime_error("the queue is shut down");
  return ok;
}

v1::PutResponse RawClient::Put(const v1::PutRequest::Header& header, std::string_view bytes) {
  grpc::ClientContext context;
  auto call = stub_.PrepareCall(&context, "/tiffin.v1.Blobs/Put", &queue_);
  call->StartCall(Tag());
  if (!Step()) throw std::runtime_error("no connection");
  v1::PutRequest first;
  *first.mutable_header() = header;
  grpc::ByteBuffer message;
  Check(server::WriteMessage(first, &message));
  call->Write(message, Tag());
  bool open = Step();
  for (size_t at = 0; open && at < bytes.size(); at += kMessage) {
    const server::BlobSlice part{bytes.substr(at, kMessage), nullptr};
    message = server::ChunkMessage({&part, 1});
    call->Write(message, Tag());
    open = Step();
  }
  if (open) {
    call->WritesDone(Tag());
    Step();
  }
  grpc::ByteBuffer answer;
  call->Read(&answer, Tag());
  const bool answered = Step();
  grpc::Status status;
  call->Finish(&status, Tag());
  Step();
  Check(status);
  v1::PutResponse response;
  if (!answered) throw std::runtime_error("no answer");
  Check(server::ReadMessage(answer, &response));
  return response;
}

v1::DerefResponse::Header RawClient::Deref(const v1::DerefRequest& request,
                                           const std::function<void(std::string_view)>& on_part) {
  grpc::ClientContext context;
  auto call = stub_.PrepareCall(&context, "/tiffin.v1.Blobs/Deref", &queue_);
  call->StartCall(Tag());
  if (!Step()) throw std::runtime_error("no connection");
  grpc::ByteBuffer message;
  Check(server::WriteMessage(request, &message));
  call->WriteLast(message, grpc::WriteOptions(), Tag());
  Step();
  v1::DerefResponse::Header header;
  bool first = true;
  while (true) {
    grpc::ByteBuffer part;
    call->Read(&part, Tag());
    if (!Step()) break;
    if (first) {
      v1::DerefResponse response;
      Check(server::ReadMessage(part, &response));
      header = response.header();
      first = false;
      continue;
    }
    const auto chunk = server::ReadChunk(part);
    if (!chunk) throw std::runtime_error("a message that is no chunk");
    for (const std::string_view piece : chunk->parts) on_part(piece);
  }
  grpc::Status status;
  call->Finish(&status, Tag());
  Step();
  Check(status);
  return header;
}

}  // namespace tiffin::bench
