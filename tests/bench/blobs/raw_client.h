// Streams of gRPC's own buffers, for measuring servers with the least client there can be.
#ifndef TIFFIN_TESTS_BENCH_BLOBS_RAW_CLIENT_H_
#define TIFFIN_TESTS_BENCH_BLOBS_RAW_CLIENT_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "tiffin/v1/blobs.pb.h"

namespace tiffin::bench {

// All methods throw std::runtime_error on failure. Used by one thread at a time.
class RawClient {
 public:
  explicit RawClient(const std::string& address);

  // Puts `bytes` with that header; returns the answer.
  v1::PutResponse Put(const v1::PutRequest::Header& header, std::string_view bytes);
  // Brings the bytes, part by part; returns the header.
  v1::DerefResponse::Header Deref(const v1::DerefRequest& request,
                                  const std::function<void(std::string_view)>& on_part);
  std::shared_ptr<grpc::Channel> channel() const { return channel_; }

 private:
  bool Step();  // of the stream that is open

  std::shared_ptr<grpc::Channel> channel_;
  grpc::GenericStub stub_;
  grpc::CompletionQueue queue_;
};

}  // namespace tiffin::bench

#endif  // TIFFIN_TESTS_BENCH_BLOBS_RAW_CLIENT_H_
