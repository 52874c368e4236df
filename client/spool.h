// Results that could not be delivered, kept in a folder until they are.
#ifndef TIFFIN_CLIENT_SPOOL_H_
#define TIFFIN_CLIENT_SPOOL_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "client/connection.h"

namespace tiffin {

// One file a result: a serialised v1.StoreResultRequest, named at random and ending in `.result`. A
// power cut leaves it whole or absent. Processes may share the folder.
// Threads: all methods may be called from any thread.
class Spool {
 public:
  // The folder is made when something is added.
  explicit Spool(std::string folder) : folder_(std::move(folder)) {}

  // $TIFFIN_SPOOL, else tiffin/spool in $XDG_STATE_HOME or ~/.local/state.
  static std::string DefaultFolder();

  // Whether what a server answered to a result leaves it to a later try: it is away, full, or asks
  // who we are.
  static bool MayStillCome(const absl::Status& answer);

  // When it returns OK, a power cut does not undo it. The request should carry the job itself, as
  // the server may not have seen it. INVALID_ARGUMENT if no message can carry it.
  absl::Status Add(const v1::StoreResultRequest& request);

  struct Outcome {
    size_t delivered = 0;  // stored now, or by somebody before
    size_t refused = 0;    // for good; kept as `.refused`, with the reason beside it
    // not now: the server is away, or somebody else computes the job; they stay
    size_t left = 0;
    absl::Status why;  // of the last that stayed
  };
  // Delivers what is there, oldest first, until the server is away or does not let us in, or `stop`
  // says so. What it has no room for (RESOURCE_EXHAUSTED) stays, for a day, and the next one is
  // tried.
  absl::StatusOr<Outcome> Deliver(Connection& connection,
                                  const std::function<bool()>& stop = nullptr);

  // Whether something waits to be delivered. Cheap.
  bool empty() const;
  const std::string& folder() const { return folder_; }

 private:
  const std::string folder_;
};

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_SPOOL_H_
