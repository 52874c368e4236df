// E: the core deterministic encoding (RFC 8949, 4.2.1) of a value, as DESIGN.md 4 has it.
#ifndef TIFFIN_COMMON_CBOR_H_
#define TIFFIN_COMMON_CBOR_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "common/crypto.h"
#include "common/path.h"
#include "common/value.h"

namespace tiffin {

// E(value). INVALID_ARGUMENT naming the path if a ref in it is malformed (see RefOf).
absl::StatusOr<std::string> EncodeCbor(const Value& value);

// Appends E(value), which stands at `where`.
absl::Status AppendEncoded(const Value& value, const PathLink& where, std::string* out);
// The head of an array, whose items the caller appends.
void AppendArrayHead(uint64_t items, std::string* out);

// SHA-256 of E(body) of a record: what the second ref form's `value` is.
absl::StatusOr<Digest> BodyDigest(const Object& record);

// SHA-256(E(["tiffin.result/1", result])).
absl::StatusOr<Digest> ResultDigest(const Value& result);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_CBOR_H_
