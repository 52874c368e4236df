// The two bidirectional streams of Jobs: SubmitBatch and Await.
#include <deque>
#include <limits>

#include "common/status.h"
#include "server/service/convert.h"
#include "server/service/jobs_service.h"

namespace tiffin::server {
namespace {

// What both share: one read and one write at a time, one end. Holds itself alive until gRPC is done with it and
// no task refers to it.
template <typename Request, typename Response>
class Stream : public grpc::ServerBidiReactor<Request, Response>,
               public OpenStream,
               public std::enable_shared_from_this<Stream<Request, Response>> {
 public:
  Stream(Calls* calls, const char* name) : calls_(calls), name_(name) {}

  void Begin() {
    self_ = this->shared_from_this();
    added_ = true;  // before a drain can end it
    if (!calls_->Add(self_)) {
      added_ = false;
      End(DrainingStatus());
      return;
    }
    this->StartRead(&request_);
  }

  void Drain() override { End(DrainingStatus()); }
  void OnCancel() override { End(grpc::Status::CANCELLED); }

  void OnReadDone(bool ok) override {
    {
      std::lock_guard lock(mutex_);
      if (ended_) return;  // it may have finished: nothing of gRPC's may be touched
      if (ok) ++holds_;
    }
    if (!ok) {
      HalfClosed();
      return;
    }
    calls_->writes().Add([self = this->shared_from_this(), this] {
      const absl::Status status = Take(request_);
      if (!status.ok()) End(ToGrpc(status));
      std::unique_lock lock(mutex_);
      read_due_ = status.ok();
      --holds_;
      Read(lock);
      Next(lock);
    });
  }

  void OnWriteDone(bool ok) override {
    std::unique_lock lock(mutex_);
    writing_ = false;
    if (!ok && !ended_) ended_ = grpc::Status::CANCELLED;
    Read(lock);
    Next(lock);
  }

  void OnDone() override {
    Closed();
    if (added_) calls_->Remove(self_);
    calls_->Log(name_, caller(), *ended_, absl::Now() - start_);
    self_.reset();  // may delete this
  }

 protected:
  // A message has come; the next is read when this returns OK.
  virtual absl::Status Take(const Request& request) = 0;
  // Nothing more will come.
  virtual void HalfClosed() = 0;
  virtual void Closed() {}
  virtual const v1::Caller& caller() const = 0;

  void Write(Response response) {
    std::unique_lock lock(mutex_);
    queue_.push_back(std::move(response));
    Next(lock);
  }
  // Ends the stream: at once if with an error, else after what is queued.
  void End(grpc::Status status) {
    std::unique_lock lock(mutex_);
    if (!ended_) ended_ = std::move(status);
    Next(lock);
  }
  Calls* const calls_;

 private:
  // Reads the next message, once the client has taken most of the answers. While held, the stream does
  // not finish: after that gRPC may forget it at any time, and a read must not be started any more.
  void Read(std::unique_lock<std::mutex>& lock) {
    if (!read_due_ || ended_ || queue_.size() >= kUnread) return;
    read_due_ = false;
    ++holds_;
    lock.unlock();  // gRPC may call back from within
    this->StartRead(&request_);
    lock.lock();
    --holds_;
  }

  void Next(std::unique_lock<std::mutex>& lock) {
    if (writing_ || finished_) return;
    if (ended_ && holds_ > 0 && (!ended_->ok() || queue_.empty())) return;
    if (ended_ && (!ended_->ok() || queue_.empty())) {
      finished_ = true;
      const grpc::Status status = *ended_;
      const auto self = this->shared_from_this();  // OnDone may come before Finish returns
      lock.unlock();
      this->Finish(status);
      lock.lock();
      return;
    }
    if (queue_.empty()) return;
    writing_ = true;
    current_ = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    this->StartWrite(&current_);
    lock.lock();
  }

  static constexpr size_t kUnread = 4;  // answers that wait for the client to read them

  const char* const name_;
  const absl::Time start_ = absl::Now();
  std::shared_ptr<Stream> self_;
  bool added_ = false;
  Request request_;
  std::mutex mutex_;  // guards all below
  std::deque<Response> queue_;
  Response current_;
  bool writing_ = false, finished_ = false, read_due_ = false;
  int holds_ = 0;
  std::optional<grpc::Status> ended_;
};

class SubmitBatchStream : public Stream<v1::SubmitBatchRequest, v1::SubmitBatchResponse> {
 public:
  SubmitBatchStream(Calls* calls, JobStore* store) : Stream(calls, "SubmitBatch"), store_(store) {}

 private:
  const v1::Caller& caller() const override { return told_caller_; }

  absl::Status Take(const v1::SubmitBatchRequest& request) override {
    if (first_) {
      told_caller_ = request.caller();
      TIFFIN_ASSIGN_OR_RETURN(caller_, FromProto(request.caller()));
      TIFFIN_ASSIGN_OR_RETURN(options_, OptionsFromProto(request.options(), store_->limits()));
      bulk_ = request.options().bulk();
      if (request.has_max_grants()) grants_ = request.max_grants();
      first_ = false;
    }
    const size_t n = static_cast<size_t>(request.jobs_size());
    if (n > store_->limits().max_batch) {
      return absl::InvalidArgumentError(StrCat("jobs: ", n, " in one message, the limit is ",
                                               store_->limits().max_batch));
    }
    // Reading a job takes a processor; what follows is one visit to the store for the whole message.
    std::vector<absl::StatusOr<PreparedJob>> jobs(n, absl::StatusOr<PreparedJob>(PreparedJob()));
    calls_->writes().ForEach(n, [&](size_t i) {
      const absl::StatusOr<std::string_view> json =
          JsonOf(request.jobs(static_cast<int>(i)), "job");
      jobs[i] = json.ok() ? store_->Prepare(*json) : json.status();
    });
    const std::vector<absl::StatusOr<SubmitAnswer>> answers =
        store_->SubmitMany(caller_, std::move(jobs), next_, options_, &grants_);
    std::vector<v1::SubmitBatchResponse::Item> items(n);
    size_t budget = store_->limits().max_reply_bytes;
    for (size_t i = 0; i < n; ++i) {
      items[i].set_index(next_ + i);
      if (answers[i].ok() && answers[i]->result && answers[i]->result->row.record.size() > budget) {
        // Over what one message may bring: the client fetches it.
        SubmitAnswer present = *answers[i];
        present.result.reset();
        ToProto(present, items[i].mutable_response());
        items[i].mutable_response()->set_present(true);
        continue;
      }
      if (answers[i].ok() && answers[i]->result) budget -= answers[i]->result->row.record.size();
      const absl::Status status =
          answers[i].ok() ? Answer(*store_, caller_, *answers[i], bulk_, items[i].mutable_response())
                          : answers[i].status();
      if (status.ok()) continue;
      items[i].clear_response();
      ToProto(status, items[i].mutable_status());
    }
    next_ += n;
    Send(std::move(items));
    return absl::OkStatus();
  }

  // Results over a reply's budget come as `present`.
  void Send(std::vector<v1::SubmitBatchResponse::Item> items) {
    const size_t budget = store_->limits().max_reply_bytes;
    v1::SubmitBatchResponse response;
    size_t bytes = 0;
    for (v1::SubmitBatchResponse::Item& item : items) {
      if (item.ByteSizeLong() > budget && item.response().has_result()) {
        item.mutable_response()->clear_result();
        item.mutable_response()->set_present(true);
      }
      if (bytes + item.ByteSizeLong() > budget) {
        Write(std::move(response));
        response = {};
        bytes = 0;
      }
      bytes += item.ByteSizeLong();
      *response.add_items() = std::move(item);
    }
    if (response.items_size() > 0) Write(std::move(response));
  }

  void HalfClosed() override { End(grpc::Status::OK); }

  JobStore* const store_;
  bool first_ = true;
  v1::Caller told_caller_;
  CallerInfo caller_;
  SubmitOptions options_;
  v1::Bulk bulk_ = v1::BULK_REFS;
  uint64_t next_ = 0;
  std::optional<uint64_t> grants_;  // leases left; absent: no limit
};

class AwaitStreamReactor : public Stream<v1::AwaitRequest, v1::AwaitResponse> {
 public:
  AwaitStreamReactor(Calls* calls, JobStore* store) : Stream(calls, "Await"), store_(store) {}

 private:
  const v1::Caller& caller() const override { return told_caller_; }

  absl::Status Take(const v1::AwaitRequest& request) override {
    if (first_) TIFFIN_RETURN_IF_ERROR(Open(request));
    first_ = false;
    std::vector<AwaitItem> items;
    for (int i = 0; i < request.items_size(); ++i) {
      AwaitItem item;
      {
        std::lock_guard lock(mutex_);
        item.index = next_++;
        ++waiting_;
      }
      absl::StatusOr<JobAddress> address =
          FromProto(request.items(i).job(), StrCat("items[", i, "].job"));
      if (!address.ok()) {
        Tell(item.index, WaitEvent{.kind = WaitEvent::Kind::kError, .error = address.status()});
        continue;
      }
      item.job = *address;
      item.after_epoch = request.items(i).after_epoch();
      items.push_back(std::move(item));
    }
    // Before the items: the capacity is there when they are looked at.
    if (request.capacity() > 0) store_->AddCapacity(session_, request.capacity());
    store_->Await(session_, caller_, std::move(items));
    return absl::OkStatus();
  }

  absl::Status Open(const v1::AwaitRequest& request) {
    told_caller_ = request.caller();
    TIFFIN_ASSIGN_OR_RETURN(caller_, FromProto(request.caller()));
    bulk_ = request.bulk();
    AwaitSession session;
    TIFFIN_ASSIGN_OR_RETURN(
        session.term, TermFromProto(request.has_term(), request.term(), store_->limits(), "term"));
    session.can_compute = request.can_compute();
    session.caller = caller_;
    session.tell = [this](uint64_t index, WaitEvent event) { Tell(index, std::move(event)); };
    session_ = store_->OpenAwait(std::move(session));
    return absl::OkStatus();
  }

  // Called on the writer's thread: what blocks is done elsewhere, in order.
  void Tell(uint64_t index, WaitEvent event) {
    std::lock_guard lock(mutex_);
    events_.emplace_back(index, std::move(event));
    if (pumping_) return;
    pumping_ = true;
    calls_->streams().Add(
        [self = std::static_pointer_cast<AwaitStreamReactor>(this->shared_from_this())] {
          self->Pump();
        });
  }

  void Pump() {
    while (true) {
      std::pair<uint64_t, WaitEvent> event;
      {
        std::lock_guard lock(mutex_);
        if (events_.empty()) {
          pumping_ = false;
          return;
        }
        event = std::move(events_.front());
        events_.pop_front();
      }
      Send(event.first, event.second);
    }
  }

  void Send(uint64_t index, const WaitEvent& event) {
    v1::AwaitResponse response;
    response.set_index(index);
    ToProto(event, &response);
    absl::Status status;
    if (response.has_result()) {
      status = ApplyBulk(*store_, caller_.name_space, bulk_, response.mutable_result());
    }
    if (response.has_workflow()) {
      // With refs if it cannot be inline: an error would lose the lease.
      ApplyBulk(*store_, caller_.name_space, bulk_, response.mutable_workflow()).IgnoreError();
    }
    if (!status.ok()) {
      response.clear_result();
      response.set_event(v1::AWAIT_ERROR);
      ToProto(status, response.mutable_status());
    }
    const bool goes_on =
        response.event() == v1::AWAIT_ATTACHED || response.event() == v1::AWAIT_OPEN;
    Write(std::move(response));
    if (goes_on) return;
    bool over;
    {
      std::lock_guard lock(mutex_);
      over = --waiting_ == 0 && half_closed_;
    }
    if (over) End(grpc::Status::OK);
  }

  void HalfClosed() override {
    bool over;
    {
      std::lock_guard lock(mutex_);
      half_closed_ = true;
      over = waiting_ == 0;
    }
    if (over) End(grpc::Status::OK);
  }

  void Closed() override {
    if (session_ != 0) store_->CloseAwait(session_);
  }

  JobStore* const store_;
  bool first_ = true;
  v1::Caller told_caller_;
  CallerInfo caller_;
  v1::Bulk bulk_ = v1::BULK_REFS;
  Waiters::SessionId session_ = 0;
  std::mutex mutex_;  // guards all below
  std::deque<std::pair<uint64_t, WaitEvent>> events_;
  bool pumping_ = false, half_closed_ = false;
  uint64_t next_ = 0, waiting_ = 0;
};

}  // namespace

grpc::ServerBidiReactor<v1::SubmitBatchRequest, v1::SubmitBatchResponse>* JobsService::SubmitBatch(
    grpc::CallbackServerContext*) {
  auto stream = std::make_shared<SubmitBatchStream>(calls_, store_);
  stream->Begin();
  return stream.get();
}

grpc::ServerBidiReactor<v1::AwaitRequest, v1::AwaitResponse>* JobsService::Await(
    grpc::CallbackServerContext*) {
  auto stream = std::make_shared<AwaitStreamReactor>(calls_, store_);
  stream->Begin();
  return stream.get();
}

}  // namespace tiffin::server
