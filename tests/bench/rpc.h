// Many calls in flight to servers in processes of their own.
#ifndef TIFFIN_TESTS_BENCH_RPC_H_
#define TIFFIN_TESTS_BENCH_RPC_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/server_process.h"
#include "tiffin/v1/jobs.grpc.pb.h"

namespace tiffin::bench {

using testing::ServerProcess;

// A server that answers GetResult with a payload of as many bytes as the key's first 4 say.
std::unique_ptr<ServerProcess> BareServer();
// What runs in its process.
int ServeBare();

// Starts `total` calls, `in_flight` at a time; `start(i, done)` must call `done` once. Returns
// calls a second.
double CallsPerSecond(size_t total, size_t in_flight,
                      const std::function<void(size_t, std::function<void()>)>& start);

// One call on the callback API; aborts the benchmark if it fails.
void GetResultAsync(v1::Jobs::Stub& stub, const std::string& key, std::function<void()> done);
// The same: stores the result of a job that was granted.
void StoreResultAsync(v1::Jobs::Stub& stub, const v1::SubmitResponse& job,
                      const std::string& record, std::function<void()> done);

// A job with a number, as JSON text.
std::string JobJson(size_t n);
// Submits and stores jobs [0, n) with results of `bytes` bytes; their keys.
std::vector<std::string> Fill(v1::Jobs::Stub& stub, size_t n, size_t bytes);
// Submits jobs for leases.
std::vector<v1::SubmitResponse> Grants(v1::Jobs::Stub& stub, size_t first, size_t n);
void Check(const grpc::Status& status);

}  // namespace tiffin::bench

#endif  // TIFFIN_TESTS_BENCH_RPC_H_
