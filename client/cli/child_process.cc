#include "client/cli/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "client/cli/context.h"
#include "common/status.h"

extern char** environ;

namespace tiffin::cli {
namespace {

constexpr size_t kLogBytes = 64 << 10;  // StoreResult takes no more
constexpr std::array kSignals = {SIGINT, SIGTERM, SIGHUP};

sigset_t WatchedSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (int signal_number : kSignals) sigaddset(&set, signal_number);
  return set;
}

class Pipe {
 public:
  Pipe() {
    if (pipe2(ends_, O_CLOEXEC) != 0) ends_[0] = ends_[1] = -1;
  }
  ~Pipe() {
    CloseRead();
    CloseWrite();
  }
  Pipe(const Pipe&) = delete;
  Pipe& operator=(const Pipe&) = delete;

  bool ok() const { return ends_[0] >= 0; }
  int read_end() const { return ends_[0]; }
  int write_end() const { return ends_[1]; }
  void CloseRead() { Close(&ends_[0]); }
  void CloseWrite() { Close(&ends_[1]); }

 private:
  static void Close(int* end) {
    if (*end >= 0) close(*end);
    *end = -1;
  }
  int ends_[2];
};

// Starts the program with its output in the pipes. Signals are as they were before the relay.
absl::StatusOr<pid_t> Spawn(const std::vector<std::string>& command, const Pipe& out,
                            const Pipe& err, const sigset_t& mask) {
  std::vector<char*> argv;
  for (const std::string& argument : command) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, out.write_end(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.write_end(), STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigmask(&attributes, &mask);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return WrongUse(StrCat("cannot run ", command[0], ": ", std::strerror(error)));
  return pid;
}

void AppendTail(std::string_view bytes, std::string* log) {
  log->append(bytes);
  if (log->size() > kLogBytes) log->erase(0, log->size() - kLogBytes);
}

// Takes what a pipe has. False: it has ended.
bool Take(int file, std::string* buffer) {
  buffer->resize(64 << 10);
  const ssize_t got = read(file, buffer->data(), buffer->size());
  buffer->resize(got > 0 ? static_cast<size_t>(got) : 0);
  return got > 0 || (got < 0 && errno == EINTR);
}

// Reads both pipes until the program, and whatever it left behind, has closed them.
void Collect(Pipe* out, Pipe* err, const ChildOptions& options, ChildOutcome* outcome) {
  std::string buffer;
  const auto to_log = [&] {
    AppendTail(buffer, &outcome->log);
    if (options.err != nullptr) *options.err << buffer << std::flush;
  };
  while (out->ok() || err->ok()) {
    std::array<pollfd, 2> files = {pollfd{out->read_end(), POLLIN, 0},
                                   pollfd{err->read_end(), POLLIN, 0}};
    if (poll(files.data(), files.size(), -1) < 0) continue;  // EINTR
    options.on_output();
    if (files[0].revents != 0) {
      if (!Take(out->read_end(), &buffer)) out->CloseRead();
      if (!options.collect_bytes.has_value()) {
        to_log();
      } else if (outcome->out.size() + buffer.size() > *options.collect_bytes) {
        outcome->out_cut = true;  // read on, so that the program does not stall
      } else {
        outcome->out.append(buffer);
      }
    }
    if (files[1].revents != 0) {
      if (!Take(err->read_end(), &buffer)) err->CloseRead();
      to_log();
    }
  }
}

}  // namespace

SignalRelay::SignalRelay() {
  const sigset_t watched = WatchedSignals();
  pthread_sigmask(SIG_BLOCK, &watched, &before_);
  signals_ = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
  stop_ = eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread([this] { Watch(); });
}

SignalRelay::~SignalRelay() {
  eventfd_write(stop_, 1);
  thread_.join();
  close(signals_);
  close(stop_);
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void SignalRelay::Watch() {
  for (;;) {
    std::array<pollfd, 2> files = {pollfd{signals_, POLLIN, 0}, pollfd{stop_, POLLIN, 0}};
    if (poll(files.data(), files.size(), -1) < 0) continue;  // EINTR
    if (files[1].revents != 0) return;
    const std::lock_guard lock(mutex_);
    TakeSignals();
  }
}

void SignalRelay::TakeSignals() {
  signalfd_siginfo info;
  while (read(signals_, &info, sizeof info) == sizeof info) {
    const auto signal_number = static_cast<int>(info.ssi_signo);
    if (!holding_) std::_Exit(128 + signal_number);
    signal_ = signal_number;
    // A terminal signals all its foreground processes, the child too.
    const bool from_terminal = info.ssi_code == SI_KERNEL;
    if (child_ > 0 && !from_terminal) kill(child_, signal_number);
  }
}

void SignalRelay::Hold() {
  const std::lock_guard lock(mutex_);
  holding_ = true;
}

void SignalRelay::SetChild(pid_t child) {
  const std::lock_guard lock(mutex_);
  child_ = child;
  if (child_ > 0 && signal_ != 0) kill(child_, signal_);
}

void SignalRelay::Kill(int signal_number) {
  const std::lock_guard lock(mutex_);
  if (child_ > 0) kill(child_, signal_number);
}

int SignalRelay::signal_number() {
  const std::lock_guard lock(mutex_);
  TakeSignals();  // what ended the child may not have been taken by the thread yet
  return signal_;
}

absl::StatusOr<ChildOutcome> RunChild(const std::vector<std::string>& command,
                                      const ChildOptions& options, SignalRelay* relay) {
  Pipe out;
  Pipe err;
  if (!out.ok() || !err.ok()) return absl::ResourceExhaustedError("no pipes left");
  TIFFIN_ASSIGN_OR_RETURN(const pid_t pid, Spawn(command, out, err, relay->mask_before()));
  relay->SetChild(pid);
  out.CloseWrite();
  err.CloseWrite();
  ChildOutcome outcome;
  Collect(&out, &err, options, &outcome);
  // It is not reaped yet, so that no signal can reach another process of the same number.
  siginfo_t info;
  while (waitid(P_PID, static_cast<id_t>(pid), &info, WEXITED | WNOWAIT) != 0 && errno == EINTR) {
  }
  relay->SetChild(0);
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  outcome.exit_status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return outcome;
}

}  // namespace tiffin::cli
