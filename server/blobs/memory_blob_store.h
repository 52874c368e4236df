// Blobs in memory: for tests of what stands on the interface, and servers that keep nothing.
#ifndef TIFFIN_SERVER_BLOBS_MEMORY_BLOB_STORE_H_
#define TIFFIN_SERVER_BLOBS_MEMORY_BLOB_STORE_H_

#include <memory>

#include "server/blobs/blob_store.h"

namespace tiffin::server {

std::unique_ptr<BlobStore> MakeMemoryBlobStore();

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_MEMORY_BLOB_STORE_H_
