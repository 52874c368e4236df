// Running another program for `tiffin run`: its output collected, signals passed on.
#ifndef TIFFIN_CLIENT_CLI_CHILD_PROCESS_H_
#define TIFFIN_CLIENT_CLI_CHILD_PROCESS_H_

#include <signal.h>
#include <sys/types.h>

#include <functional>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"

namespace tiffin::cli {

// Takes SIGINT, SIGTERM and SIGHUP for the whole program while it lives, so that a lease is given
// back before the program ends. To be made before any other thread. Without a lease (Hold not
// called) such a signal ends the program at once, with exit code 128 + signal.
class SignalRelay {
 public:
  SignalRelay();
  ~SignalRelay();
  SignalRelay(const SignalRelay&) = delete;
  SignalRelay& operator=(const SignalRelay&) = delete;

  // From now on signals are passed on to the child, once there is one.
  void Hold();
  // The child now running; 0: none any more. A signal that came before reaches it now.
  void SetChild(pid_t child);
  // Sends the child a signal of our own.
  void Kill(int signal_number);
  // The last signal that came while holding; 0: none.
  int signal_number();
  // What the signals were before: for the child.
  const sigset_t& mask_before() const { return before_; }

 private:
  void Watch();
  void TakeSignals();  // needs mutex_

  sigset_t before_;
  int signals_ = -1;  // signalfd
  int stop_ = -1;     // eventfd
  std::mutex mutex_;
  bool holding_ = false;  // guarded by mutex_, as what follows
  pid_t child_ = 0;
  int signal_ = 0;
  std::thread thread_;
};

struct ChildOutcome {
  int exit_status = 0;   // 128 + signal if one ended it
  std::string out;       // what it printed
  bool out_cut = false;  // there was more than the limit
  std::string log;       // the last 64 KiB of its standard error
};

struct ChildOptions {
  // Standard output is collected up to this size; nullopt: it goes where standard error goes.
  std::optional<size_t> collect_bytes;
  std::ostream* err = nullptr;              // its standard error is passed on to this
  std::function<void()> on_output = [] {};  // called when it has printed something
};

// Runs the program (looked up in PATH) to its end. It inherits standard input. WrongUse if it
// cannot be started.
absl::StatusOr<ChildOutcome> RunChild(const std::vector<std::string>& command,
                                      const ChildOptions& options, SignalRelay* relay);

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_CHILD_PROCESS_H_
