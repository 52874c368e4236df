#include "server/service/raw_messages.h"

#include <array>
#include <cstdint>
#include <memory>

namespace tiffin::server {
namespace {

constexpr uint8_t kTag = 2 << 3 | 2;  // field 2, length-delimited
constexpr uint8_t kHeaderTag = v1::DerefResponse::kHeaderFieldNumber << 3 | 2;
constexpr uint8_t kFirstTag = v1::DerefResponse::Header::kFirstFieldNumber << 3 | 2;
constexpr size_t kMaxVarint = 10;

void AppendHead(uint8_t tag, uint64_t length, std::string* out) {
  out->push_back(static_cast<char>(tag));
  for (; length >= 0x80; length >>= 7) out->push_back(static_cast<char>(length | 0x80));
  out->push_back(static_cast<char>(length));
}

size_t BytesOf(std::span<const BlobSlice> parts) {
  size_t bytes = 0;
  for (const BlobSlice& part : parts) bytes += part.bytes.size();
  return bytes;
}

// `head` and then the parts, around memory that their owners keep.
grpc::ByteBuffer WithHead(const std::string& head, std::span<const BlobSlice> parts) {
  using Owner = std::shared_ptr<const void>;
  std::vector<grpc::Slice> slices;
  slices.reserve(1 + parts.size());
  slices.emplace_back(head);
  for (const BlobSlice& part : parts) {
    // Let go on any of gRPC's threads, at any time.
    slices.emplace_back(
        const_cast<char*>(part.bytes.data()), part.bytes.size(),
        [](void* owner) { delete static_cast<Owner*>(owner); }, new Owner(part.owner));
  }
  return grpc::ByteBuffer(slices.data(), slices.size());
}

std::string_view View(const grpc::Slice& slice) {
  return {reinterpret_cast<const char*>(slice.begin()), slice.size()};
}

}  // namespace

std::optional<Chunk> ReadChunk(const grpc::ByteBuffer& buffer) {
  Chunk chunk;
  if (!buffer.Dump(&chunk.slices).ok()) return std::nullopt;
  // The tag and the length may be spread over slices.
  std::array<uint8_t, 1 + kMaxVarint> head;
  size_t known = 0;
  for (const grpc::Slice& slice : chunk.slices) {
    for (size_t i = 0; i < slice.size() && known < head.size(); ++i)
      head[known++] = slice.begin()[i];
    if (known == head.size()) break;
  }
  if (known < 2 || head[0] != kTag) return std::nullopt;
  uint64_t length = 0;
  size_t at = 1;
  for (int shift = 0;; shift += 7) {
    if (at == known || shift > 56) return std::nullopt;
    const uint8_t byte = head[at++];
    length |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) break;
  }
  if (buffer.Length() != at + length) return std::nullopt;
  chunk.size = length;
  size_t skip = at;
  for (const grpc::Slice& slice : chunk.slices) {
    std::string_view part = View(slice);
    const size_t skipped = std::min(skip, part.size());
    part.remove_prefix(skipped);
    skip -= skipped;
    if (!part.empty()) chunk.parts.push_back(part);
  }
  return chunk;
}

grpc::ByteBuffer ChunkMessage(std::span<const BlobSlice> parts) {
  std::string head;
  AppendHead(kTag, BytesOf(parts), &head);
  return WithHead(head, parts);
}

grpc::ByteBuffer HeaderMessage(const v1::DerefResponse::Header& header,
                               std::span<const BlobSlice> parts) {
  const size_t bytes = BytesOf(parts);
  std::string inner = header.SerializeAsString();
  AppendHead(kFirstTag, bytes, &inner);
  std::string head;
  AppendHead(kHeaderTag, inner.size() + bytes, &head);
  return WithHead(head + inner, parts);
}

}  // namespace tiffin::server
