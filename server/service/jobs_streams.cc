// The bidirectional streams of Jobs: SubmitBatch, BatchGetResults and Await.
#include <deque>
#include <functional>
#include <limits>
#include <list>

#include "absl/container/flat_hash_map.h"
#include "common/status.h"
#include "server/service/bidi_stream.h"
#include "server/service/convert.h"
#include "server/service/jobs_service.h"

namespace tiffin::server {
namespace {

class SubmitBatchStream : public BidiStream<v1::SubmitBatchRequest, v1::SubmitBatchResponse> {
 public:
  SubmitBatchStream(Calls* calls, JobStore* store)
      : BidiStream(calls, "SubmitBatch", &calls->writes()), store_(store) {}

 private:
  absl::Status Open(const v1::SubmitBatchRequest& request) override {
    TIFFIN_ASSIGN_OR_RETURN(options_, OptionsFromProto(request.options(), store_->limits()));
    bulk_ = request.options().bulk();
    if (request.has_max_grants()) grants_ = request.max_grants();
    options_.gone = [this] { return ended(); };
    return absl::OkStatus();
  }

  absl::Status Take(v1::SubmitBatchRequest& request) override {
    const size_t n = static_cast<size_t>(request.jobs_size());
    TIFFIN_RETURN_IF_ERROR(CheckBatch(n, store_->limits(), "jobs"));
    // Reading a job takes a processor; what follows is one visit to the store for the whole
    // message.
    std::vector<absl::StatusOr<PreparedJob>> jobs(n, absl::StatusOr<PreparedJob>(PreparedJob()));
    calls_->writes().ForEach(n, [&](size_t i) {
      const absl::StatusOr<std::string_view> json =
          JsonOf(request.jobs(static_cast<int>(i)), "job");
      jobs[i] = json.ok() ? store_->Prepare(*json) : json.status();
    });
    const std::vector<absl::StatusOr<SubmitAnswer>> answers =
        store_->SubmitMany(caller(), std::move(jobs), next_, options_, &grants_,
                           [this](size_t count, const std::function<void(size_t)>& work) {
                             calls_->writes().ForEach(count, work);
                           });
    Send(answers);
    return absl::OkStatus();
  }

  // Results beyond what is answered to one message come as `present`: the client fetches them.
  void Send(const std::vector<absl::StatusOr<SubmitAnswer>>& answers) {
    const size_t budget = store_->limits().max_reply_bytes;
    size_t used = 0;
    MessageOfItems<v1::SubmitBatchResponse> message;
    for (const absl::StatusOr<SubmitAnswer>& answer : answers) {
      v1::SubmitBatchResponse::Item* item = message.Add();
      item->set_index(next_++);
      const absl::Status status =
          answer.ok() ? Fill(*answer, used >= budget, item->mutable_response()) : answer.status();
      if (!status.ok()) {
        item->clear_response();
        ToProto(status, item->mutable_status());
      }
      used += item->ByteSizeLong();
      if (message.Full()) Write(message.Move());
    }
    if (!message.empty()) Write(message.Move());
  }

  absl::Status Fill(const SubmitAnswer& answer, bool only_presence, v1::SubmitResponse* response) {
    if (!only_presence || !answer.result) return Answer(*store_, caller(), answer, bulk_, response);
    ToProto(answer, response);
    response->clear_result();
    response->set_present(true);
    return absl::OkStatus();
  }

  JobStore* const store_;
  SubmitOptions options_;
  v1::Bulk bulk_ = v1::BULK_REFS;
  uint64_t next_ = 0;
  std::optional<uint64_t> grants_;  // leases left; absent: no limit
};

class BatchGetResultsStream
    : public BidiStream<v1::BatchGetResultsRequest, v1::BatchGetResultsResponse> {
 public:
  BatchGetResultsStream(Calls* calls, JobStore* store)
      : BidiStream(calls, "BatchGetResults", &calls->reads()), store_(store) {}

 private:
  absl::Status Open(const v1::BatchGetResultsRequest& request) override {
    bulk_ = request.bulk();
    return absl::OkStatus();
  }

  absl::Status Take(v1::BatchGetResultsRequest& request) override {
    TIFFIN_RETURN_IF_ERROR(CheckBatch(request.jobs_size(), store_->limits(), "jobs"));
    asked_.clear();
    addresses_.clear();
    for (int i = 0; i < request.jobs_size(); ++i) {
      asked_.push_back(FromProto(request.jobs(i), StrCat("jobs[", i, "]")));
      if (asked_.back().ok()) addresses_.push_back(*asked_.back());
    }
    at_ = address_at_ = 0;
    return absl::OkStatus();
  }

  // As many as one message takes.
  bool Produce() override {
    if (at_ == asked_.size()) return false;
    MessageOfItems<v1::BatchGetResultsResponse> message;
    while (at_ < asked_.size()) {
      if (asked_[at_].ok() && found_.empty()) {
        if (!message.empty()) break;
        LookUp();
      }
      v1::BatchGetResultsResponse::Item* item = message.Add();
      item->set_index(index_++);
      if (!asked_[at_].ok()) {
        Fill(asked_[at_].status(), item);
      } else {
        Fill(found_.front(), item);
        found_.pop_front();
      }
      ++at_;
      if (message.Full()) break;
    }
    Write(message.Move());
    return true;
  }

  // The next results, about as many as a message takes.
  void LookUp() {
    const std::span<const JobAddress> left(addresses_.begin() + address_at_, addresses_.end());
    for (JobStore::Found& found : store_->GetResults(caller().name_space, left, kResultBytes)) {
      found_.push_back(std::move(found));
      ++address_at_;
    }
  }

  void Fill(const JobStore::Found& found, v1::BatchGetResultsResponse::Item* item) {
    absl::Status status = found.status();
    if (found.ok()) {
      item->set_key(std::string((*found)->key.view()));
      ToProto((*found)->result, item->mutable_result());
      status = ApplyBulk(*store_, caller().name_space, bulk_, item->mutable_result());
    }
    if (status.ok()) return;
    item->clear_result();
    ToProto(status, item->mutable_status());
  }

  static constexpr size_t kResultBytes = 1 << 20;  // looked up at once

  JobStore* const store_;
  v1::Bulk bulk_ = v1::BULK_REFS;
  // Of the message in hand: what was asked, and what of it can be looked up.
  std::vector<absl::StatusOr<JobAddress>> asked_;
  std::vector<JobAddress> addresses_;
  size_t at_ = 0, address_at_ = 0;     // the next to be answered, and to be looked up
  std::deque<JobStore::Found> found_;  // looked up, not answered
  uint64_t index_ = 0;                 // of the next answer, in all messages
};

class AwaitStreamReactor : public BidiStream<v1::AwaitRequest, v1::AwaitResponse> {
 public:
  AwaitStreamReactor(Calls* calls, JobStore* store)
      : BidiStream(calls, "Await", &calls->writes()), store_(store) {}

 private:
  absl::Status Take(v1::AwaitRequest& request) override {
    TIFFIN_RETURN_IF_ERROR(CheckBatch(request.items_size(), store_->limits(), "items"));
    ByteBudget::Share share =
        calls_->memory().Take(kWaiterBytes * static_cast<uint64_t>(request.items_size()));
    if (!share) {
      End(TooMuchInFlight());
      return absl::OkStatus();
    }
    uint64_t first;
    {
      std::lock_guard lock(mutex_);
      shares_.push_back(std::move(share));
      waiting_ += static_cast<uint64_t>(request.items_size());
      first = std::exchange(next_, next_ + static_cast<uint64_t>(request.items_size()));
    }
    std::vector<AwaitItem> items;
    for (int i = 0; i < request.items_size(); ++i) {
      AwaitItem item{.index = first + static_cast<uint64_t>(i)};
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
    store_->Await(session_, caller(), std::move(items));
    return absl::OkStatus();
  }

  absl::Status Open(const v1::AwaitRequest& request) override {
    bulk_ = request.bulk();
    AwaitSession session;
    TIFFIN_ASSIGN_OR_RETURN(
        session.term, TermFromProto(request.has_term(), request.term(), store_->limits(), "term"));
    session.can_compute = request.can_compute();
    session.caller = caller();
    session.tell = [this](uint64_t index, WaitEvent event) { Tell(index, std::move(event)); };
    session.when_taken = [this](std::function<void()> next) {
      std::lock_guard lock(mutex_);
      next_parts_.push_back(std::move(next));
      PumpLocked();
    };
    session_ = store_->OpenAwait(std::move(session));
    return absl::OkStatus();
  }

  // Called on the writer's thread: what blocks is done elsewhere, in order. What a client that does
  // not read makes wait here has a limit. Of pushed results few are held: the others are looked up
  // once it has read these. Those that are stored nowhere count as bytes in flight. Of the state of
  // a job, only the last is told.
  void Tell(uint64_t index, WaitEvent event) {
    const size_t bytes = event.from == WaitEvent::From::kLookUp ? 0 : TextBytes(*event.result);
    std::lock_guard lock(mutex_);
    Told told{.index = index, .event = std::move(event)};
    if (GoesOn(told.event)) {
      const auto [state, is_new] = states_.emplace(index, events_.end());
      if (!is_new) {
        state->second->event = std::move(told.event);
        return;  // it is on its way
      }
      state->second = events_.insert(events_.end(), std::move(told));
    } else if (told.event.from == WaitEvent::From::kPushed && held_bytes_ > 0 &&
               held_bytes_ + bytes > kHeldBytes) {
      const AwaitItem again{
          .index = index, .job = told.event.key, .after_epoch = told.event.result->row.epoch};
      next_parts_.push_back([this, again] { store_->Await(session_, caller(), {again}); });
    } else {
      if (told.event.from == WaitEvent::From::kPushed) {
        held_bytes_ += told.held_bytes = bytes;
      } else if (bytes > 0) {
        told.share = calls_->memory().Take(bytes);
        if (!told.share) told.event = TooLate(told.event.key);
      }
      events_.push_back(std::move(told));
    }
    PumpLocked();
  }

  static bool GoesOn(const WaitEvent& event) {
    return event.kind == WaitEvent::Kind::kAttached || event.kind == WaitEvent::Kind::kOpen;
  }

  static WaitEvent TooLate(const Digest& key) {
    return {.kind = WaitEvent::Kind::kError,
            .key = key,
            .error = absl::ResourceExhaustedError("the result is not kept (discard_result), and "
                                                  "too many bytes are in flight to push it")};
  }

  // What was kept back can follow.
  void Written() override {
    std::lock_guard lock(mutex_);
    if (!events_.empty() || !next_parts_.empty()) PumpLocked();
  }

  void PumpLocked() {
    if (pumping_) return;
    pumping_ = true;
    calls_->streams().Add([self = std::static_pointer_cast<AwaitStreamReactor>(
                               this->shared_from_this())] { self->Pump(); });
  }

  // While the client reads: Written goes on.
  void Pump() {
    while (true) {
      Told told;  // with its share
      std::function<void()> next_part;
      {
        std::lock_guard lock(mutex_);
        if (Full() || (events_.empty() && next_parts_.empty())) {
          pumping_ = false;
          return;
        }
        if (events_.empty()) {
          next_part = std::move(next_parts_.front());
          next_parts_.pop_front();
        } else {
          told = std::move(events_.front());
          events_.pop_front();
          held_bytes_ -= told.held_bytes;
          if (GoesOn(told.event)) states_.erase(told.index);
        }
      }
      if (next_part) {
        next_part();
      } else {
        told.share = {};  // it counts as an answer from here on
        Send(told.index, told.event);
      }
    }
  }

  void Send(uint64_t index, const WaitEvent& event) {
    v1::AwaitResponse response;
    response.set_index(index);
    ToProto(event, &response);
    absl::Status status;
    if (response.has_result()) {
      status = ApplyBulk(*store_, caller().name_space, bulk_, response.mutable_result());
    }
    if (response.has_workflow()) {
      // With refs if it cannot be inline: an error would lose the lease.
      ApplyBulk(*store_, caller().name_space, bulk_, response.mutable_workflow()).IgnoreError();
    }
    if (!status.ok()) {
      response.clear_result();
      response.set_event(v1::AWAIT_ERROR);
      ToProto(status, response.mutable_status());
    }
    Write(response);
    if (GoesOn(event)) return;
    bool over;
    {
      std::lock_guard lock(mutex_);
      over = --waiting_ == 0 && half_closed_;
      if (waiting_ == 0) shares_.clear();
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
  v1::Bulk bulk_ = v1::BULK_REFS;
  Waiters::SessionId session_ = 0;
  struct Told {
    uint64_t index = 0;
    WaitEvent event;
    size_t held_bytes = 0;  // of a pushed result
    ByteBudget::Share share;
  };
  static constexpr size_t kHeldBytes = 1 << 20;  // of pushed results, or one that is larger
  // of one who waits, with what is told of the state of its job
  static constexpr uint64_t kWaiterBytes = 512;
  std::mutex mutex_;  // guards all below
  std::list<Told> events_;
  // By index: the one of events_ that tells the state of its job.
  absl::flat_hash_map<uint64_t, std::list<Told>::iterator> states_;
  std::vector<ByteBudget::Share> shares_;  // of those who wait, until all have their ending
  size_t held_bytes_ = 0;
  std::deque<std::function<void()>> next_parts_;  // look at more of what is awaited
  bool pumping_ = false, half_closed_ = false;
  uint64_t next_ = 0, waiting_ = 0;
};

}  // namespace

RawBidiReactor* JobsService::SubmitBatch(grpc::CallbackServerContext* context) {
  auto stream = std::make_shared<SubmitBatchStream>(calls_, store_);
  stream->Begin(context);
  return stream.get();
}

RawBidiReactor* JobsService::BatchGetResults(grpc::CallbackServerContext* context) {
  auto stream = std::make_shared<BatchGetResultsStream>(calls_, store_);
  stream->Begin(context);
  return stream.get();
}

RawBidiReactor* JobsService::Await(grpc::CallbackServerContext* context) {
  auto stream = std::make_shared<AwaitStreamReactor>(calls_, store_);
  stream->Begin(context);
  return stream.get();
}

}  // namespace tiffin::server
