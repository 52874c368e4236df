#include "server/service/put_stream.h"

#include <deque>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "common/status.h"
#include "server/service/convert.h"
#include "server/service/raw_messages.h"
#include "tiffin/v1/blobs.pb.h"

namespace tiffin::server {
namespace {

// Messages are read while earlier ones are hashed and written: by a worker, a whole piece at a
// time, from a queue of bounded bytes. What has come when the connection breaks is written, too: it
// need not come again.
class PutReactor : public grpc::ServerReadReactor<grpc::ByteBuffer>,
                   public OpenStream,
                   public std::enable_shared_from_this<PutReactor> {
 public:
  PutReactor(Calls* calls, BlobCatalogue* blobs, grpc::CallbackServerContext* context,
             grpc::ByteBuffer* response)
      : calls_(calls), blobs_(blobs), context_(context), response_(response) {}

  void Begin() {
    self_ = shared_from_this();
    share_ = calls_->memory().Take(calls_->upload_bytes());
    added_ = true;  // before a drain can end it
    if (!calls_->Add(self_)) {
      added_ = false;
      return End(DrainingStatus());
    }
    if (!share_) return End(TooMuchInFlight());
    StartRead(&message_);
  }
  void Drain() override { End(DrainingStatus()); }
  // What came of it stays, if it can be resumed.
  void MakeRoom() override {
    {
      std::lock_guard lock(mutex_);
      if (working_) return;  // it is the disk that it waits for
    }
    End(TooMuchInFlight());
  }
  void OnCancel() override { End(grpc::Status::CANCELLED); }

  void OnReadDone(bool ok) override {
    Touch();
    std::unique_lock lock(mutex_);
    if (ended_) return;  // it may have finished: nothing of gRPC's may be touched
    if (ok) {
      if (message_.Length() > kLargeMessage) {  // beyond what the stream took at its begin
        large_ = calls_->memory().Take(message_.Length());
        if (!large_) {
          if (!ended_) ended_ = TooMuchInFlight();
          message_.Clear();
          reading_ = false;
          StartWork();
          return Next(lock);
        }
      }
      queued_bytes_ += message_.Length();
      waiting_bytes_ += message_.Length();
      queue_.push_back(std::move(message_));
      message_.Clear();
    } else {
      half_closed_ = true;
    }
    reading_ = false;
    Read(lock);
    StartWork();
  }

  void OnDone() override {
    {
      std::lock_guard lock(mutex_);  // after whatever the last task did
      calls_->Log("Put", caller_, *ended_, absl::Now() - start_);
    }
    if (!upload_) return Leave();
    const bool refused = incomplete_ && !context_->IsCancelled();
    calls_->uploads().Add([this, refused] {  // removing files takes its time
      if (refused) upload_->Refuse();
      upload_.reset();  // what can be resumed stays
      Leave();
    });
  }

 private:
  // After all is done.
  void Leave() {
    if (added_) calls_->Remove(self_);
    self_.reset();  // may delete this
  }

  // Reads the next message if there is room for it. `lock` is given up meanwhile: gRPC may call
  // back from within.
  void Read(std::unique_lock<std::mutex>& lock) {
    if (reading_ || half_closed_ || ended_ || queued_bytes_ >= calls_->stream_bytes() ||
        queue_.size() >= kMostQueued) {
      return;
    }
    reading_ = true;
    ++holds_;  // a read must not be started on a call that has finished
    lock.unlock();
    StartRead(&message_);
    lock.lock();
    --holds_;
    Next(lock);
  }

  // Whether there is something to be done: a piece is whole, or no more of it comes now.
  bool Ready() const {
    if (queue_.empty()) return half_closed_ && !ended_;
    return !begun_ || waiting_bytes_ >= room_ || half_closed_ || ended_ ||
           queued_bytes_ >= calls_->stream_bytes() || queue_.size() >= kMostQueued;
  }
  // Under the mutex.
  void StartWork() {
    if (working_ || finished_ || !Ready()) return;
    working_ = true;
    ++holds_;
    calls_->uploads().Add([self = self_, this] { Work(); });
  }

  void Work() {
    std::unique_lock lock(mutex_);
    while (Ready()) {
      if (ended_ && !upload_) {  // nothing was begun
        queue_.clear();
        break;
      }
      const bool over = queue_.empty();
      std::vector<grpc::ByteBuffer> messages;
      size_t bytes = 0;
      while (!queue_.empty() && bytes < room_) {
        bytes += queue_.front().Length();
        messages.push_back(std::move(queue_.front()));
        queue_.pop_front();
      }
      waiting_bytes_ -= bytes;
      lock.unlock();
      bool answered = over;
      const absl::Status status = over ? Finish() : Take(messages, &answered);
      messages.clear();
      lock.lock();
      queued_bytes_ -= bytes;
      if (queued_bytes_ == 0) large_ = {};
      begun_ = upload_ != nullptr;
      room_ = begun_ ? kPiece - upload_->written() % kPiece : 1;
      if (!status.ok() || answered) {
        if (!ended_) ended_ = ToGrpc(status);
        queue_.clear();  // what else came is not wanted
        break;
      }
      Read(lock);
    }
    working_ = false;
    --holds_;
    Next(lock);
  }

  // Chunks that follow each other are appended at once.
  absl::Status Take(std::span<const grpc::ByteBuffer> messages, bool* answered) {
    std::vector<Chunk> chunks;
    std::vector<std::string_view> parts;
    const auto append = [&]() -> absl::Status {
      if (chunks.empty()) return absl::OkStatus();
      TIFFIN_RETURN_IF_ERROR(upload_->Append(parts));
      chunks.clear();
      parts.clear();
      return absl::OkStatus();
    };
    for (const grpc::ByteBuffer& message : messages) {
      std::optional<Chunk> chunk = upload_ ? ReadChunk(message) : std::nullopt;
      if (chunk) {
        parts.insert(parts.end(), chunk->parts.begin(), chunk->parts.end());
        chunks.push_back(*std::move(chunk));
      } else {
        TIFFIN_RETURN_IF_ERROR(append());
        TIFFIN_RETURN_IF_ERROR(TakeOther(message, answered));
        if (*answered) return absl::OkStatus();
      }
    }
    return append();
  }

  absl::Status TakeOther(const grpc::ByteBuffer& message, bool* answered) {
    v1::PutRequest request;
    if (!ReadMessage(message, &request).ok()) {
      return absl::InvalidArgumentError("a message that is no PutRequest");
    }
    if (upload_) {
      if (request.part_case() != v1::PutRequest::kChunk) {
        return absl::InvalidArgumentError("a second header, or a message without chunk");
      }
      const std::string_view chunk = request.chunk();
      return upload_->Append({&chunk, 1});
    }
    if (!request.has_header()) {
      return absl::InvalidArgumentError("header: the first message must be the header");
    }
    return Open(request.header(), answered);
  }

  absl::Status Open(const v1::PutRequest::Header& header, bool* answered) {
    caller_ = header.caller();
    TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(caller_));
    name_space_ = caller.name_space;
    bool known = false;
    TIFFIN_ASSIGN_OR_RETURN(const BlobName name, FromProto(header.name(), "header.name", &known));
    absl::StatusOr<std::variant<PutOutcome, std::unique_ptr<Upload>>> begun =
        blobs_->BeginPut(name_space_, name, known, header.offset(), [this] {
          std::lock_guard lock(mutex_);
          return ended_.has_value();
        });
    if (!begun.ok()) return Annotate(begun.status(), "header");
    if (const auto* outcome = std::get_if<PutOutcome>(&*begun)) {
      *answered = true;
      return Answer(*outcome);
    }
    upload_ = std::move(std::get<std::unique_ptr<Upload>>(*begun));
    return absl::OkStatus();
  }

  absl::Status Finish() {
    if (!upload_) return absl::InvalidArgumentError("header: the upload has none");
    if (absl::Status status = upload_->CheckComplete(); !status.ok()) {
      // A broken connection looks the same; only in OnDone is it known whether the client said so.
      incomplete_ = true;
      return status;
    }
    TIFFIN_ASSIGN_OR_RETURN(const PutOutcome outcome,
                            blobs_->FinishPut(name_space_, std::move(upload_)));
    return Answer(outcome);
  }

  absl::Status Answer(const PutOutcome& outcome) {
    v1::PutResponse response;
    ToProto(outcome, &response);
    if (WriteMessage(response, response_).ok()) return absl::OkStatus();
    return absl::InternalError("the answer cannot be written");
  }

  void End(grpc::Status status) {
    std::unique_lock lock(mutex_);
    if (!ended_) ended_ = std::move(status);
    StartWork();
    Next(lock);
  }
  void Next(std::unique_lock<std::mutex>& lock) {
    if (!ended_ || holds_ > 0 || finished_) return;
    finished_ = true;
    const grpc::Status status = *ended_;
    const auto self = shared_from_this();  // OnDone may come before Finish returns
    lock.unlock();
    grpc::ServerReadReactor<grpc::ByteBuffer>::Finish(status);
    lock.lock();
  }

  // Written at once: pieces of a huge page stay whole in the page cache, and are mapped as such.
  static constexpr uint64_t kPiece = uint64_t{2} << 20;
  static constexpr size_t kLargeMessage = size_t{2} << 20;
  // Messages that wait: one takes memory even if it is empty.
  static constexpr size_t kMostQueued = 1024;

  Calls* const calls_;
  BlobCatalogue* const blobs_;
  grpc::CallbackServerContext* const context_;
  grpc::ByteBuffer* const response_;
  const absl::Time start_ = absl::Now();
  std::shared_ptr<PutReactor> self_;
  bool added_ = false;
  ByteBudget::Share share_;
  grpc::ByteBuffer message_;  // being read
  // Used by the worker only.
  v1::Caller caller_;
  std::string name_space_;
  std::unique_ptr<Upload> upload_;
  bool incomplete_ = false;

  std::mutex mutex_;  // guards all below
  std::deque<grpc::ByteBuffer> queue_;
  size_t waiting_bytes_ = 0;  // of the queue
  size_t queued_bytes_ = 0;   // and of what the worker has in hand
  // of a message among them that is larger than streams are expected to send
  ByteBudget::Share large_;
  bool begun_ = false;  // the header was taken
  uint64_t room_ = 1;   // bytes to the end of the piece
  bool reading_ = true, working_ = false, half_closed_ = false, finished_ = false;
  int holds_ = 0;
  std::optional<grpc::Status> ended_;
};

}  // namespace

grpc::ServerReadReactor<grpc::ByteBuffer>* StartPut(Calls* calls, BlobCatalogue* blobs,
                                                    grpc::CallbackServerContext* context,
                                                    grpc::ByteBuffer* response) {
  auto reactor = std::make_shared<PutReactor>(calls, blobs, context, response);
  reactor->Begin();
  return reactor.get();
}

}  // namespace tiffin::server
