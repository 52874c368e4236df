// What users hand in: files, standard input, keys, durations.
#ifndef TIFFIN_CLIENT_CLI_INPUT_H_
#define TIFFIN_CLIENT_CLI_INPUT_H_

#include <istream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/crypto.h"
#include "common/value.h"

namespace tiffin::cli {

// The bytes of a file; `-` is `in`. WrongUse if it cannot be read.
absl::StatusOr<std::string> ReadInput(const std::string& path, std::istream& in);

// One JSON text, or JSON lines: that is what it is if its first line is a whole value and others
// follow. Errors name `name` and the line.
absl::StatusOr<std::vector<Value>> ParseValues(std::string_view text, std::string_view name);

// The values of all files in order; none: of `in`.
absl::StatusOr<std::vector<Value>> ReadValues(const std::vector<std::string>& paths,
                                              std::istream& in);
// The one value of a file, of `in` (`-`), or of the argument itself if it starts with `{`.
absl::StatusOr<Value> ReadValue(const std::string& argument, std::istream& in);

// A key as base64url. WrongUse naming it if it is none.
absl::StatusOr<Digest> ParseKey(const std::string& text);
// Bytes as base64url (lease ids).
absl::StatusOr<std::string> ParseBytes(const std::string& text);
// `90`, `1.5s`, `200ms`, `1h30m`; a number alone is seconds.
absl::StatusOr<absl::Duration> ParseDuration(const std::string& text);

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_INPUT_H_
