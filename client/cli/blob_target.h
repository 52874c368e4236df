// Which blob a user means: a key, or a ref record.
#ifndef TIFFIN_CLIENT_CLI_BLOB_TARGET_H_
#define TIFFIN_CLIENT_CLI_BLOB_TARGET_H_

#include <istream>
#include <string>

#include "absl/status/statusor.h"
#include "common/npy.h"
#include "tiffin/v1/blobs.pb.h"

namespace tiffin::cli {

inline constexpr char kTargetHelp[] =
    "A key, or a ref record: as JSON, in a file, or on standard input (-)";

// `is_value`: a key is that of a value, not of an array.
absl::StatusOr<v1::BlobRef> ParseTarget(const std::string& text, bool is_value, std::istream& in);

// The name in a message, checked.
absl::StatusOr<BlobName> NameOf(const v1::BlobName& name);

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_BLOB_TARGET_H_
