// A server in a process of its own.
#ifndef TIFFIN_TESTS_SUPPORT_SERVER_PROCESS_H_
#define TIFFIN_TESTS_SUPPORT_SERVER_PROCESS_H_

#include <grpcpp/grpcpp.h>
#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "tiffin/v1/jobs.grpc.pb.h"

namespace tiffin::testing {

// A process that prints `event=serving address=…` on standard error; the program is aborted if it
// does not.
class ServerProcess {
 public:
  explicit ServerProcess(std::vector<std::string> command);
  ~ServerProcess() { Stop(15); }
  // The tiffin server on that folder, on a free port. The binary is TIFFIN_SERVER_BINARY's, or that
  // of this build.
  static std::unique_ptr<ServerProcess> Tiffin(const std::string& data,
                                               const std::vector<std::string>& flags = {});

  void Stop(int signal);
  const std::string& address() const { return address_; }
  pid_t pid() const { return pid_; }
  std::shared_ptr<grpc::Channel> Connect() const;
  std::unique_ptr<v1::Jobs::Stub> Stub() const { return v1::Jobs::NewStub(Connect()); }

 private:
  pid_t pid_ = 0;
  int log_ = -1;
  std::string address_;
};

}  // namespace tiffin::testing

#endif  // TIFFIN_TESTS_SUPPORT_SERVER_PROCESS_H_
