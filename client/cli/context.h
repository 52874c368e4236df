// What every command of the `tiffin` program is given, and what it gives back.
#ifndef TIFFIN_CLIENT_CLI_CONTEXT_H_
#define TIFFIN_CLIENT_CLI_CONTEXT_H_

#include <functional>
#include <istream>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/client.h"
#include "client/connection.h"

namespace tiffin::cli {

enum ExitCode {
  kDone = 0,
  kMiss = 1,         // not found, or no result yet
  kWrongUse = 2,     // of the command line
  kRefused = 3,      // by the server; or what came back differs; or a job failed
  kUnreachable = 4,  // no server, or it drains
};

// Where a command reads and writes, and how it reaches a server. Tests put their own in.
struct Environment {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool terminal = false;  // `err` is one: progress bars are drawn
  std::function<std::shared_ptr<Connection>(const ConnectionOptions&)> connect;
};

// The options that stand before the command.
struct Globals {
  std::string server = "127.0.0.1:7410";
  std::string name_space;
  bool json = false;
  std::optional<absl::Duration> patience;
};

class Context {
 public:
  explicit Context(const Environment& environment) : environment_(environment) {}

  Globals globals;
  // What stood after `--` on the command line of `run`.
  std::vector<std::string> rest;

  std::istream& in() const { return environment_.in; }
  std::ostream& out() const { return environment_.out; }
  std::ostream& err() const { return environment_.err; }
  // Whether progress bars are wanted.
  bool progress() const { return environment_.terminal && !globals.json; }

  // The connection to the server, made at the first call.
  std::shared_ptr<Connection> connection();
  // A client of the namespace asked for. `patience` is how long the command bears with a server
  // that is away unless --patience says otherwise.
  Client MakeClient(ClientOptions options, absl::Duration patience = absl::Seconds(5));
  Client MakeClient() { return MakeClient(ClientOptions()); }
  // The Caller for requests that the client library has no method for.
  v1::Caller caller() const;
  // Calls `call` again while the server is UNAVAILABLE or asks to come back later, as long as
  // patience lasts: for what may be repeated and has no method in Client.
  absl::Status Persist(const std::function<absl::Status()>& call) const;

 private:
  absl::Duration patience(absl::Duration by_default) const {
    return globals.patience.value_or(by_default);
  }

  Environment environment_;
  std::shared_ptr<Connection> connection_;
};

// A command with its options parsed: returns an exit code, or what went wrong.
using Command = std::function<absl::StatusOr<int>(Context&)>;

// A mistake of the user's, found before the server was asked: exit code 2.
absl::Status WrongUse(std::string_view message);
// 1 for NOT_FOUND, 2 for WrongUse, 4 if the server cannot be reached, else 3.
int ExitCodeOf(const absl::Status& status);
// `tiffin: NOT_FOUND: …`.
std::string ErrorLine(const absl::Status& status);

// Runs the program. `arguments` are without the program's name.
int RunCli(std::vector<std::string> arguments, const Environment& environment);

}  // namespace tiffin::cli

#endif  // TIFFIN_CLIENT_CLI_CONTEXT_H_
