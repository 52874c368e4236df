// What the records in a message take once they are parsed.
#ifndef TIFFIN_SERVER_SERVICE_TREE_BYTES_H_
#define TIFFIN_SERVER_SERVICE_TREE_BYTES_H_

#include <google/protobuf/message.h>

#include <cstddef>

namespace tiffin::server {

// Bytes, rather too many than too few: told from the commas and brackets of their texts, as
// `[0,0,0]` takes forty times its text, and base64 about as much.
size_t TreeBytes(const google::protobuf::Message& message);

// What a message of so many bytes takes while it is worked on: its text as it came, read, printed
// and encoded, and the trees.
inline constexpr size_t kTextCopies = 5;
inline size_t WorkingBytes(const google::protobuf::Message& message, size_t message_bytes) {
  return kTextCopies * message_bytes + TreeBytes(message);
}

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_TREE_BYTES_H_
