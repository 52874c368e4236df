// What gRPC and the disk can do without tiffin: the same streams, hashed and written as simply as
// possible.
//   tiffin_floor_server FOLDER
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <signal.h>
#include <sys/uio.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "common/crypto.h"
#include "server/service/raw_messages.h"
#include "tests/bench/blobs/noise.h"
#include "tiffin/v1/admin.grpc.pb.h"
#include "tiffin/v1/blobs.grpc.pb.h"

namespace tiffin::bench {
namespace {

using server::ChunkMessage;
using server::ReadChunk;
using server::WriteMessage;

constexpr size_t kMessage = 1 << 20;
constexpr size_t kQueue = 4;  // messages

// A client stream whose bytes a worker hashes, writes and syncs.
class PutReactor : public grpc::ServerReadReactor<grpc::ByteBuffer> {
 public:
  PutReactor(const std::string& folder, grpc::ByteBuffer* response) : response_(response) {
    path_ = folder + "/put-" + std::to_string(reinterpret_cast<uintptr_t>(this));
    worker_ = std::thread([this] { Work(); });
    StartRead(&message_);
  }
  void OnReadDone(bool ok) override {
    std::unique_lock lock(mutex_);
    if (ok) queue_.push_back(std::move(message_));
    over_ = !ok;
    wake_.notify_all();
    if (!ok) return;
    if (queue_.size() < kQueue) {
      lock.unlock();
      StartRead(&message_);
    } else {
      full_ = true;
    }
  }
  void OnDone() override {
    worker_.join();
    delete this;
  }

 private:
  void Work() {
    const int fd = open(path_.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
    Sha256 hash;
    off_t at = 0;
    bool good = fd >= 0, first = true;
    while (true) {
      grpc::ByteBuffer message;
      bool read = false;
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [this] { return over_ || !queue_.empty(); });
        if (queue_.empty()) break;
        message = std::move(queue_.front());
        queue_.pop_front();
        read = std::exchange(full_, false);
      }
      if (read) StartRead(&message_);
      if (std::exchange(first, false)) continue;  // the header
      const auto chunk = ReadChunk(message);
      if (!chunk) {
        good = false;
        continue;
      }
      std::vector<iovec> parts;
      for (const std::string_view part : chunk->parts) {
        hash.Update(part);
        parts.push_back({const_cast<char*>(part.data()), part.size()});
      }
      good &= pwritev(fd, parts.data(), static_cast<int>(parts.size()), at) ==
              static_cast<ssize_t>(chunk->size);
      at += static_cast<off_t>(chunk->size);
    }
    good &= fdatasync(fd) == 0;
    v1::PutResponse response;
    response.mutable_name()->set_key(std::string(hash.Finish().view()));
    good &= WriteMessage(response, response_).ok();
    // What cleans up comes after the answer; OnDone waits for it.
    Finish(good ? grpc::Status::OK : grpc::Status(grpc::StatusCode::INTERNAL, "the floor failed"));
    close(fd);
    unlink(path_.c_str());
  }

  grpc::ByteBuffer* const response_;
  std::string path_;
  grpc::ByteBuffer message_;
  std::thread worker_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<grpc::ByteBuffer> queue_;
  bool over_ = false, full_ = false;
};

// `limit` bytes of memory, 1 GiB at most.
class DerefReactor : public grpc::ServerWriteReactor<grpc::ByteBuffer> {
 public:
  DerefReactor(const std::shared_ptr<std::string>& memory, uint64_t bytes)
      : memory_(memory), left_(bytes) {
    v1::DerefResponse response;
    response.mutable_header()->set_length(bytes);
    if (!WriteMessage(response, &message_).ok()) std::abort();
    StartWrite(&message_);
  }
  void OnWriteDone(bool ok) override {
    if (!ok) return Finish(grpc::Status::CANCELLED);
    if (left_ == 0) return Finish(grpc::Status::OK);
    const size_t n = std::min<uint64_t>(left_, kMessage);
    const server::BlobSlice part{std::string_view(*memory_).substr(at_, n), memory_};
    message_ = ChunkMessage({&part, 1});
    at_ += n;
    left_ -= n;
    StartWrite(&message_);
  }
  void OnDone() override { delete this; }

 private:
  const std::shared_ptr<std::string> memory_;
  uint64_t left_, at_ = 0;
  grpc::ByteBuffer message_;
};

class FloorBlobs : public v1::Blobs::WithRawCallbackMethod_Put<
                       v1::Blobs::WithRawCallbackMethod_Deref<v1::Blobs::CallbackService>> {
 public:
  explicit FloorBlobs(std::string folder) : folder_(std::move(folder)) {}
  grpc::ServerReadReactor<grpc::ByteBuffer>* Put(grpc::CallbackServerContext*,
                                                 grpc::ByteBuffer* response) override {
    return new PutReactor(folder_, response);
  }
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Deref(grpc::CallbackServerContext*,
                                                    const grpc::ByteBuffer* request) override {
    v1::DerefRequest parsed;
    if (!server::ReadMessage(*request, &parsed).ok()) std::abort();
    std::call_once(made_, [this] {  // while warming up
      memory_ = std::make_shared<std::string>(Noise(uint64_t{1} << 30, kDerefSeed));
    });
    return new DerefReactor(memory_, parsed.limit());
  }

 private:
  const std::string folder_;
  std::once_flag made_;
  std::shared_ptr<std::string> memory_;
};

// An empty unary call.
class FloorAdmin : public v1::Admin::CallbackService {
 public:
  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const v1::DescribeRequest*, v1::DescribeResponse*) override {
    auto* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

}  // namespace
}  // namespace tiffin::bench

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
    return 2;
  }
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as tiffin-server
  tiffin::bench::FloorBlobs blobs(argv[1]);
  tiffin::bench::FloorAdmin admin;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.SetMaxReceiveMessageSize(20 << 20);
  builder.RegisterService(&blobs);
  builder.RegisterService(&admin);
  const auto server = builder.BuildAndStart();
  if (!server) return 1;
  std::fprintf(stderr, "event=serving address=127.0.0.1:%d\n", port);
  server->Wait();
}
