// One pass of a recording over a server.
#ifndef TIFFIN_CLIENT_CLI_REPLAY_PASS_H_
#define TIFFIN_CLIENT_CLI_REPLAY_PASS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cli/recording.h"
#include "client/client.h"
#include "common/value.h"

namespace tiffin::cli {

// Something the server answered otherwise than it must.
struct Difference {
  std::string workflow;
  int64_t seq = 0;
  std::string what;
  std::string expected;
  std::string got;
};

// A job that a rerun was granted, and why that is right.
struct GrantedAgain {
  std::string workflow;
  int64_t seq = 0;
  std::string key;
  std::string reason;
};

struct PassReport {
  uint64_t submissions = 0, granted = 0, attached = 0, retrieved = 0, other = 0;
  uint64_t records = 0;  // that came back and were compared
  uint64_t links = 0;
  std::vector<Difference> differences;
  std::vector<GrantedAgain> granted_again;
  absl::Duration time;
};

struct PassOptions {
  bool rerun = false;          // over what an earlier pass stored
  bool aliases = false;        // also stores Noodles' keys as names of the profile noodles/json
  size_t inline_limit = 4096;  // of the server
};

// Replays one workflow through `client`, whose namespace nobody else uses, and compares each answer
// and each record that comes back. Gives back all leases at the end. Fails only if a call does:
// differences stand in `report`. `on_step` is called after each step.
absl::Status ReplayWorkflow(const RecordedWorkflow& workflow, const PassOptions& options,
                            Client client, const std::function<void()>& on_step,
                            PassReport* report);

// How a record must come back: with its bulk as refs, as TakeBulk has it.
absl::StatusOr<Value> WithRefs(const Value& sent, size_t inline_limit);
// True if `got` equals `sent`, the inline arrays of both brought to C order as numpy.save writes
// it.
bool EqualInline(const Value& sent, const Value& got);

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_REPLAY_PASS_H_
