// Servers in processes of their own, and many calls in flight.
#ifndef TIFFIN_TESTS_BENCH_RPC_H_
#define TIFFIN_TESTS_BENCH_RPC_H_

#include <grpcpp/grpcpp.h>
#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tiffin/v1/jobs.grpc.pb.h"

namespace tiffin::bench {

// A process that prints `event=serving address=…` on standard error.
class ServerProcess {
 public:
  explicit ServerProcess(std::vector<std::string> command);
  ~ServerProcess() { Stop(15); }
  // The tiffin server on that folder, on a free port.
  static std::unique_ptr<ServerProcess> Tiffin(const std::string& data);
  // One that answers GetResult with a payload of as many bytes as the key's first 4 say.
  static std::unique_ptr<ServerProcess> Bare();

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

// Runs what `Bare` starts.
int ServeBare();

// Starts `total` calls, `in_flight` at a time; `start(i, done)` must call `done` once. Returns calls a
// second.
double CallsPerSecond(size_t total, size_t in_flight,
                      const std::function<void(size_t, std::function<void()>)>& start);

// One call on the callback API; aborts the benchmark if it fails.
void GetResultAsync(v1::Jobs::Stub& stub, const std::string& key, std::function<void()> done);

// A job with a number, as JSON text.
std::string JobJson(size_t n);
// Submits and stores jobs [0, n) with results of `bytes` bytes; their keys.
std::vector<std::string> Fill(v1::Jobs::Stub& stub, size_t n, size_t bytes);
// Submits jobs for leases.
std::vector<v1::SubmitResponse> Grants(v1::Jobs::Stub& stub, size_t first, size_t n);
void Check(const grpc::Status& status);

}  // namespace tiffin::bench

#endif  // TIFFIN_TESTS_BENCH_RPC_H_
