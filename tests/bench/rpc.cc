#include "tests/bench/rpc.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <mutex>
#include <thread>

#include "absl/strings/str_cat.h"

namespace tiffin::bench {

void Check(const grpc::Status& status) {
  if (status.ok()) return;
  std::cerr << "bench: " << status.error_code() << ' ' << status.error_message() << std::endl;
  std::abort();
}

std::unique_ptr<ServerProcess> BareServer() {
  return std::make_unique<ServerProcess>(
      std::vector<std::string>{"/proc/self/exe", "--bare-server"});
}

namespace {

class BareService : public v1::Jobs::CallbackService {
 public:
  grpc::ServerUnaryReactor* GetResult(grpc::CallbackServerContext* context,
                                      const v1::GetResultRequest* request,
                                      v1::GetResultResponse* response) override {
    uint32_t bytes = 0;
    std::memcpy(&bytes, request->job().key().data(), sizeof bytes);
    response->set_key(request->job().key());
    response->mutable_result()->mutable_record()->set_json(std::string(bytes, 'x'));
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

}  // namespace

int ServeBare() {
  BareService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  std::cerr << "event=serving address=127.0.0.1:" << port << std::endl;
  server->Wait();
  return 0;
}

double CallsPerSecond(size_t total, size_t in_flight,
                      const std::function<void(size_t, std::function<void()>)>& start) {
  std::atomic<size_t> next{0}, done{0};
  std::mutex mutex;
  std::condition_variable ready;
  std::function<void()> one = [&] {
    const size_t i = next++;
    if (i >= total) return;
    start(i, [&] {
      one();
      if (++done == total) {
        std::lock_guard lock(mutex);
        ready.notify_all();
      }
    });
  };
  const auto begin = std::chrono::steady_clock::now();
  for (size_t i = 0; i < in_flight; ++i) one();
  std::unique_lock lock(mutex);
  ready.wait(lock, [&] { return done == total; });
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
  return static_cast<double>(total) / took.count();
}

void GetResultAsync(v1::Jobs::Stub& stub, const std::string& key, std::function<void()> done) {
  struct Call {
    grpc::ClientContext context;
    v1::GetResultRequest request;
    v1::GetResultResponse response;
  };
  auto call = std::make_shared<Call>();
  call->request.mutable_job()->set_key(key);
  stub.async()->GetResult(&call->context, &call->request, &call->response,
                          [call, done = std::move(done)](const grpc::Status& status) {
                            Check(status);
                            done();
                          });
}

std::string JobJson(size_t n) {
  return absl::StrCat(R"({"function": "bench", "arguments": [)", n, "]}");
}

std::vector<v1::SubmitResponse> Grants(v1::Jobs::Stub& stub, size_t first, size_t n) {
  std::vector<v1::SubmitResponse> out;
  grpc::ClientContext context;
  auto stream = stub.SubmitBatch(&context);
  std::thread writer([&] {
    for (size_t i = 0; i < n;) {
      v1::SubmitBatchRequest request;
      request.mutable_options()->set_can_compute(true);
      request.mutable_options()->mutable_term()->set_seconds(3600);
      for (size_t part = 0; part < 5000 && i < n; ++part, ++i) {
        request.add_jobs()->set_json(JobJson(first + i));
      }
      if (!stream->Write(request)) return;
    }
    stream->WritesDone();
  });
  v1::SubmitBatchResponse response;
  while (stream->Read(&response)) {
    for (v1::SubmitBatchResponse::Item& item : *response.mutable_items()) {
      out.push_back(std::move(*item.mutable_response()));
    }
  }
  writer.join();
  Check(stream->Finish());
  return out;
}

void StoreResultAsync(v1::Jobs::Stub& stub, const v1::SubmitResponse& job,
                      const std::string& record, std::function<void()> done) {
  struct Call {
    grpc::ClientContext context;
    v1::StoreResultRequest request;
    v1::StoreResultResponse response;
  };
  auto call = std::make_shared<Call>();
  call->request.set_key(job.key());
  call->request.set_lease(job.lease().id());
  call->request.set_epoch(job.lease().epoch());
  call->request.mutable_record()->set_json(record);
  stub.async()->StoreResult(&call->context, &call->request, &call->response,
                            [call, done = std::move(done)](const grpc::Status& status) {
                              Check(status);
                              done();
                            });
}

std::vector<std::string> Fill(v1::Jobs::Stub& stub, size_t n, size_t bytes) {
  const std::vector<v1::SubmitResponse> jobs = Grants(stub, 0, n);
  const std::string record = "\"" + std::string(bytes - 2, 'x') + "\"";
  std::vector<std::string> keys;
  for (const v1::SubmitResponse& job : jobs) keys.push_back(job.key());
  CallsPerSecond(n, 256, [&](size_t i, std::function<void()> done) {
    StoreResultAsync(stub, jobs[i], record, std::move(done));
  });
  return keys;
}

}  // namespace tiffin::bench
