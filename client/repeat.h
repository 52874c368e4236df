// Calls again what may be called again. Private to the library.
#ifndef TIFFIN_CLIENT_REPEAT_H_
#define TIFFIN_CLIENT_REPEAT_H_

#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/client.h"

namespace tiffin {

// One try of a call. It sets `*progress` when it got further than all tries before it, even if it
// broke after that.
using Try = std::function<absl::Status(bool* progress)>;

// Calls until the status is another than "come back later": UNAVAILABLE, or RESOURCE_EXHAUSTED with
// a RetryInfo, whose delay is kept. Gives up, with the status of the last try, when the pauses
// since the last progress would be longer than the patience, or at `deadline`. The time a try
// itself takes costs no patience: a call that ran for hours may break.
absl::Status Repeat(const RetryOptions& options, absl::Time deadline, const Try& call);

// How long the server asks to be left alone, if it does (google.rpc.RetryInfo in the details).
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_REPEAT_H_
