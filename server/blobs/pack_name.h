// Names of packs: random, never used twice.
#ifndef TIFFIN_SERVER_BLOBS_PACK_NAME_H_
#define TIFFIN_SERVER_BLOBS_PACK_NAME_H_

#include <string>

#include "absl/strings/escaping.h"
#include "common/crypto.h"

namespace tiffin::server {

// 32 hexadecimal digits.
inline std::string RandomPackName() { return absl::BytesToHexString(RandomBytes(16)); }

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_BLOBS_PACK_NAME_H_
