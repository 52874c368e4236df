// Where the arrays of C++ objects go to and come from: a Client, or a fake in tests.
#ifndef TIFFIN_CLIENT_OBJECT_BLOBS_H_
#define TIFFIN_CLIENT_OBJECT_BLOBS_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "client/client.h"
#include "common/record.h"

namespace tiffin {

// Threads: as the Client's, all methods may be called from any thread.
class ObjectBlobs {
 public:
  virtual ~ObjectBlobs() = default;
  // Uploads C-order bytes unless they are there.
  virtual absl::StatusOr<BlobName> Put(std::string_view dtype, const Shape& shape,
                                       std::string_view c_order_bytes) = 0;
  // Brings the whole bytes of a ref in order, piece by piece: of the array, or of the value's JSON
  // text. Errors of `on_chunk` end it and are passed on.
  virtual absl::Status Fetch(const RecordRef& ref,
                             const std::function<absl::Status(std::string_view)>& on_chunk) = 0;
};

// The blobs of a server. Fetched arrays are checked against their key (DATA_LOSS); values are
// checked by who decodes them, since their digest is that of a record's body.
std::shared_ptr<ObjectBlobs> MakeObjectBlobs(Client client);

// Fetches into memory of the ref's size: no copy is made in between. INVALID_ARGUMENT if `size`
// differs from RefSize(ref); DATA_LOSS if fewer or more bytes come.
absl::Status FetchInto(ObjectBlobs& blobs, const RecordRef& ref, char* memory, size_t size);
// The same into a string of its own.
absl::StatusOr<std::string> FetchWhole(ObjectBlobs& blobs, const RecordRef& ref);

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_OBJECT_BLOBS_H_
