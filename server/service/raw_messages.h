// Messages with bulk in them, between gRPC's buffers and memory without a copy: what protobuf would
// read and write, byte for byte.
#ifndef TIFFIN_SERVER_SERVICE_RAW_MESSAGES_H_
#define TIFFIN_SERVER_SERVICE_RAW_MESSAGES_H_

#include <grpcpp/impl/codegen/proto_utils.h>
#include <grpcpp/support/byte_buffer.h>

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "server/blobs/blob_store.h"
#include "tiffin/v1/blobs.pb.h"

namespace tiffin::server {

// INTERNAL or INVALID_ARGUMENT if the buffer is no such message.
template <typename Message>
grpc::Status ReadMessage(grpc::ByteBuffer buffer, Message* message) {
  return grpc::SerializationTraits<Message>::Deserialize(&buffer, message);
}

template <typename Message>
grpc::Status WriteMessage(const Message& message, grpc::ByteBuffer* buffer) {
  bool own = false;
  return grpc::SerializationTraits<Message>::Serialize(message, buffer, &own);
}

// The bytes of a message that has one field, `bytes` number 2, and nothing else (a chunk of Put or
// Deref). The parts stay valid as long as `slices`.
struct Chunk {
  std::vector<grpc::Slice> slices;
  std::vector<std::string_view> parts;
  size_t size = 0;
};
// nullopt: it is not of that form, and a parser must look at it.
std::optional<Chunk> ReadChunk(const grpc::ByteBuffer& buffer);

// Such a message, around memory that the owners of `parts` keep.
grpc::ByteBuffer ChunkMessage(std::span<const BlobSlice> parts);
// A DerefResponse with that header, whose `first` are the parts.
grpc::ByteBuffer HeaderMessage(const v1::DerefResponse::Header& header,
                               std::span<const BlobSlice> parts);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_RAW_MESSAGES_H_
