// The fake's Await streams.
#include <algorithm>

#include "common/status.h"
#include "tests/unit/client/fake_server.h"

namespace tiffin::testing {

class FakeServer::Stream : public AwaitStream {
 public:
  explicit Stream(FakeServer* server) : server_(*server) {
    std::lock_guard lock(server_.mutex_);
    const absl::Status status = server_.Begin("Await");
    if (!status.ok()) end_ = status;
    server_.streams_.insert(this);
  }
  ~Stream() override {
    std::lock_guard lock(server_.mutex_);
    server_.streams_.erase(this);
  }

  bool Write(const v1::AwaitRequest& request) override {
    std::lock_guard lock(server_.mutex_);
    if (end_) return false;
    server_.awaits_.push_back(request);
    capacity_ += request.capacity();
    for (const auto& item : request.items()) {
      Add(*Digest::FromBytes(item.job().key()), item.after_epoch());
    }
    server_.Changed();
    return true;
  }
  void WritesDone() override {
    std::lock_guard lock(server_.mutex_);
    half_closed_ = true;
    server_.Changed();
  }
  absl::StatusOr<v1::AwaitResponse> Read() override {
    std::unique_lock lock(server_.mutex_);
    while (true) {
      if (!queue_.empty()) {
        v1::AwaitResponse response = queue_.front();
        queue_.pop_front();
        return response;
      }
      if (end_) return *end_;
      if (half_closed_ && Over()) return absl::OutOfRangeError("all jobs have ended");
      server_.changed_.wait(lock);
    }
  }
  void Cancel() override {
    std::lock_guard lock(server_.mutex_);
    Break(absl::CancelledError("cancelled"));
  }

  // The rest needs the server's mutex.

  void Break(const absl::Status& status) {
    if (!end_) end_ = status;
    server_.Changed();
  }
  // Tells all items of that job; a grant only the first, if there is capacity. True: granted.
  bool Tell(const Digest& key, v1::AwaitResponse response) {
    const bool grant = response.event() == v1::AWAIT_GRANTED;
    if (grant && capacity_ == 0) return false;
    bool told = false;
    for (size_t i = 0; i < items_.size(); ++i) {
      if (items_[i].first != key || items_[i].second || (grant && told)) continue;
      response.set_index(i);
      response.set_key(std::string(key.view()));
      queue_.push_back(response);
      items_[i].second =
          response.event() != v1::AWAIT_ATTACHED && response.event() != v1::AWAIT_OPEN;
      told = true;
    }
    if (grant && told) --capacity_;
    server_.Changed();
    return told;
  }
  bool Over() const {
    return std::all_of(items_.begin(), items_.end(), [](const auto& item) { return item.second; });
  }

 private:
  void Add(const Digest& key, int64_t after_epoch) {
    items_.emplace_back(key, false);
    const Job& job = server_.jobs_[key];
    v1::AwaitResponse response;
    if (const auto error = server_.await_errors.find(key); error != server_.await_errors.end()) {
      response.set_event(v1::AWAIT_ERROR);
      response.mutable_status()->set_code(static_cast<int>(error->second.code()));
      response.mutable_status()->set_message(std::string(error->second.message()));
    } else if (job.result) {
      response.set_event(v1::AWAIT_RESULT);
      *response.mutable_result() = *job.result;
    } else if (job.failure && after_epoch > 0 && job.failure_epoch >= after_epoch) {
      response.set_event(v1::AWAIT_FAILED);
      *response.mutable_result() = *job.failure;
    } else if (job.lease) {
      response.set_event(v1::AWAIT_ATTACHED);
      *response.mutable_holder() = server_.HolderOf(job);
    } else {
      response.set_event(v1::AWAIT_OPEN);
    }
    const bool open = response.event() == v1::AWAIT_OPEN;
    TellLast(key, std::move(response));
    if (open) server_.Offer(key);
  }
  void TellLast(const Digest& key, v1::AwaitResponse response) {
    response.set_index(items_.size() - 1);
    response.set_key(std::string(key.view()));
    items_.back().second =
        response.event() != v1::AWAIT_ATTACHED && response.event() != v1::AWAIT_OPEN;
    queue_.push_back(std::move(response));
  }

  FakeServer& server_;
  std::vector<std::pair<Digest, bool>> items_;  // and whether they have ended
  uint32_t capacity_ = 0;
  bool half_closed_ = false;
  std::deque<v1::AwaitResponse> queue_;
  std::optional<absl::Status> end_;
};

std::unique_ptr<AwaitStream> FakeServer::Await() {
  CallOnce(&on_await);
  return std::make_unique<Stream>(this);
}

void FakeServer::Tell(const Digest& key, v1::AwaitResponse response) {
  for (Stream* stream : streams_) stream->Tell(key, response);
}

void FakeServer::Offer(const Digest& key) {
  v1::AwaitResponse response;
  response.set_event(v1::AWAIT_GRANTED);
  *response.mutable_lease() = NewLease();
  for (Stream* stream : streams_) {
    if (!stream->Tell(key, response)) continue;
    jobs_[key].lease = response.lease();
    return;
  }
}

void FakeServer::BreakStreams(const absl::Status& status) {
  std::lock_guard lock(mutex_);
  for (Stream* stream : streams_) stream->Break(status);
}

}  // namespace tiffin::testing
