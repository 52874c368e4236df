#include "server/blobs/blob_store.h"

namespace tiffin::server {

std::string_view PackOf(std::string_view location) { return location.substr(0, location.find(':')); }

}  // namespace tiffin::server
