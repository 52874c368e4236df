// What the records in a message take once they are parsed.
#ifndef TIFFIN_SERVER_SERVICE_TREE_BYTES_H_
#define TIFFIN_SERVER_SERVICE_TREE_BYTES_H_

#include <google/protobuf/message.h>

#include <cstddef>

namespace tiffin::server {

// Bytes, rather too many than too few: told from the commas and brackets of their texts, as `[0,0,0]` takes forty
// times its text, and base64 about as much.
size_t TreeBytes(const google::protobuf::Message& message);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_TREE_BYTES_H_
