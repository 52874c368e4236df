// Waiting for jobs, and running them.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <utility>

#include "client/client.h"
#include "client/client_impl.h"
#include "client/convert.h"
#include "common/json.h"
#include "common/record.h"
#include "common/status.h"

namespace tiffin {
namespace {

// Of one message: about 1 MiB.
constexpr size_t kItemsPerMessage = 20'000;

// Cancels a stream when the time has come.
class Deadline {
 public:
  Deadline(AwaitStream* stream, absl::Time time) {
    if (time == absl::InfiniteFuture()) return;
    thread_ = std::thread([this, stream, time] {
      std::unique_lock lock(mutex_);
      if (wake_.wait_until(lock, absl::ToChronoTime(time), [this] { return stop_; })) return;
      passed_ = true;
      stream->Cancel();
    });
  }
  ~Deadline() {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
      wake_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
  }
  bool passed() const { return passed_; }

 private:
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;  // guarded by mutex_
  std::atomic<bool> passed_{false};
  std::thread thread_;
};

// One AwaitAll, over as many streams as it takes.
class AwaitCall {
 public:
  // `first` has what the first message says beside items and capacity.
  AwaitCall(Connection* connection, v1::AwaitRequest first, std::span<const Digest> keys,
            const AwaitOptions& options, const std::function<absl::Status(const Awaited&)>& on_end)
      : connection_(*connection),
        first_(std::move(first)),
        keys_(keys),
        options_(options),
        on_end_(on_end),
        capacity_(options.capacity),
        jobs_(keys.size(), Job{.after_epoch = options.after_epoch}),
        left_(keys.size()) {}

  // Opens a stream for the jobs that have not ended, and listens until all have.
  absl::Status Try(bool* progress) {
    std::vector<Asked> asked;
    for (size_t i = 0; i < keys_.size(); ++i) {
      if (!jobs_[i].ended) asked.push_back({i, jobs_[i].after_epoch});
    }
    v1::AwaitRequest first = first_;
    first.set_capacity(capacity_);
    const std::unique_ptr<AwaitStream> stream = connection_.Await();
    const Deadline deadline(stream.get(), options_.deadline);
    if (asked.size() <= kItemsPerMessage) {
      Ask(std::move(first), asked, stream.get());
      return Listen(asked, deadline, stream.get(), progress);
    }
    // The states of so many jobs fill the stream: they are read while the last are asked for.
    std::thread asking([&] { Ask(std::move(first), asked, stream.get()); });
    const absl::Status status = Listen(asked, deadline, stream.get(), progress);
    stream->Cancel();
    asking.join();
    return status;
  }

  // What `on_end` said when it ended the call; else OK.
  const absl::Status& stopped() const { return stopped_; }

 private:
  struct Job {
    bool ended = false;
    // Failures from this one on are told, even if they come between two streams: the epoch of who
    // was last seen computing it.
    int64_t after_epoch = 0;
  };
  struct Asked {
    size_t index;  // in keys_
    int64_t after_epoch;
  };

  // May run beside Listen: what it needs was copied.
  void Ask(v1::AwaitRequest request, const std::vector<Asked>& asked, AwaitStream* stream) const {
    for (size_t i = 0; i < asked.size(); ++i) {
      v1::AwaitRequest::Item* item = request.add_items();
      item->mutable_job()->set_key(std::string(keys_[asked[i].index].view()));
      item->set_after_epoch(asked[i].after_epoch);
      const bool full = request.items_size() == static_cast<int>(kItemsPerMessage);
      if (!full && i + 1 < asked.size()) continue;
      if (!stream->Write(request)) return;  // Read tells why
      request.Clear();
    }
    stream->WritesDone();
  }

  absl::Status Listen(const std::vector<Asked>& asked, const Deadline& deadline,
                      AwaitStream* stream, bool* progress) {
    const size_t left_before = left_;
    while (left_ > 0) {
      const absl::StatusOr<v1::AwaitResponse> response = stream->Read();
      // The connection may have the same deadline.
      const bool late = absl::IsDeadlineExceeded(response.status()) &&
                        options_.deadline != absl::InfiniteFuture();
      if (late || (absl::IsCancelled(response.status()) && deadline.passed())) {
        return absl::DeadlineExceededError(
            StrCat(left_, " of ", keys_.size(), " jobs have not ended"));
      }
      if (absl::IsOutOfRange(response.status())) {
        return absl::UnavailableError("the stream ended before the jobs");
      }
      if (!response.ok()) return response.status();
      if (response->index() >= asked.size()) {
        return absl::InternalError("the server told of a job that was not asked for");
      }
      const size_t index = asked[response->index()].index;
      if (response->event() == v1::AWAIT_ERROR) {
        // Told on every stream anew: the states of other jobs before it are no progress then.
        *progress = left_ < left_before;
        return ErrorOf(index, *response);
      }
      *progress = true;
      if (response->has_holder()) {
        int64_t& epoch = jobs_[index].after_epoch;
        epoch = std::max(epoch, response->holder().epoch());
      }
      if (!Ends(response->event()) || jobs_[index].ended) continue;
      TIFFIN_RETURN_IF_ERROR(End(index, *response));
      if (!stopped_.ok()) return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  static bool Ends(v1::AwaitEvent event) {
    return event == v1::AWAIT_RESULT || event == v1::AWAIT_FAILED || event == v1::AWAIT_GRANTED;
  }

  absl::Status ErrorOf(size_t index, const v1::AwaitResponse& response) const {
    const absl::Status status = FromProto(response.status());
    if (status.ok()) return absl::InternalError("the server told of an error without saying which");
    return Annotate(status, StrCat("job ", keys_[index].ToText()));
  }

  absl::Status End(size_t index, const v1::AwaitResponse& response) {
    TIFFIN_ASSIGN_OR_RETURN(Awaited awaited, FromProto(response));
    awaited.index = index;
    if (awaited.event == Awaited::Event::kGranted && capacity_ > 0) --capacity_;
    jobs_[index].ended = true;
    --left_;
    stopped_ = on_end_(awaited);
    return absl::OkStatus();
  }

  Connection& connection_;
  const v1::AwaitRequest first_;
  const std::span<const Digest> keys_;
  const AwaitOptions& options_;
  const std::function<absl::Status(const Awaited&)>& on_end_;
  uint32_t capacity_;  // leases that may still be granted
  std::vector<Job> jobs_;
  size_t left_;  // jobs that have not ended
  absl::Status stopped_;
};

// The value of a result; ABORTED if the job failed.
absl::StatusOr<Value> ValueOf(StoredResult result) {
  if (result.kind == StoredResult::Kind::kError) {
    return absl::AbortedError(StrCat("the job failed: ", ErrorText(result)));
  }
  return std::move(result.value);
}

Value ErrorRecord(const absl::Status& status) {
  return Value(Object{{"error", Value(absl::StatusCodeToString(status.code()))},
                      {"message", Value(std::string(ToStd(status.message())))}});
}

// Run gives its function one try at the whole job.
absl::Status Unfolds() {
  return absl::FailedPreconditionError(
      "the job unfolds into a workflow, which Run does not go on with: Submit, Store and Link do");
}

// Exceptions become statuses.
absl::StatusOr<Value> Call(const JobFunction& function) {
  try {
    return function();
  } catch (const std::exception& error) {
    return absl::UnknownError(error.what());
  } catch (...) {
    return absl::UnknownError("an exception of no known type");
  }
}

}  // namespace

absl::Status Client::AwaitAll(std::span<const Digest> keys, const AwaitOptions& options,
                              const std::function<absl::Status(const Awaited&)>& on_end) {
  if (keys.empty()) return absl::OkStatus();
  const std::shared_ptr<Impl> impl = impl_;  // `on_end` may destroy this client
  const std::shared_ptr<const Route> route = route_;
  v1::AwaitRequest first;
  *first.mutable_caller() = impl->caller();
  first.set_can_compute(options.capacity > 0);
  first.set_bulk(ToProto(options.bulk));
  ToProto(impl->options.lease_term, first.mutable_term());
  AwaitOptions bounded = options;
  bounded.deadline = std::min(options.deadline, route->deadline());
  AwaitCall call(&route->connection(), std::move(first), keys, bounded, on_end);
  TIFFIN_RETURN_IF_ERROR(Repeat(impl->options.retry, bounded.deadline,
                                [&](bool* progress) { return call.Try(progress); }));
  return call.stopped();
}

absl::StatusOr<Awaited> Client::Await(const Digest& key, const AwaitOptions& options) {
  std::optional<Awaited> out;
  TIFFIN_RETURN_IF_ERROR(AwaitAll({&key, 1}, options, [&](const Awaited& awaited) {
    out = awaited;
    return absl::OkStatus();
  }));
  return *std::move(out);
}

// What came of the function, once it was called.
struct Client::Computed {
  std::optional<Value> value;
  absl::Duration time;
  std::optional<Lease> lease;
};

absl::StatusOr<Value> Client::Run(const Value& job, const JobFunction& function, Bulk bulk) {
  Client self(impl_, impl_->route);  // `function` may destroy this client; without a deadline
  const std::shared_ptr<Impl>& impl = self.impl_;
  Computed computed;
  absl::StatusOr<Value> result = self.RunWithServer(job, function, bulk, &computed);
  // What was computed is kept, whatever kept the server from taking it.
  const bool alone = absl::IsUnavailable(result.status()) ||
                     (computed.value && Spool::MayStillCome(result.status()));
  if (!alone) {
    // It is back, so that what was spooled can go. That this may fail is not this job's affair.
    if (result.ok() && !impl->spool.empty())
      impl->spool.Deliver(impl->route->connection()).IgnoreError();
    return result;
  }
  if (impl->options.on_unavailable == OnUnavailable::kFail) return result;
  return self.RunWithoutServer(job, function, &computed);
}

absl::StatusOr<Value> Client::RunWithoutServer(const Value& job, const JobFunction& function,
                                               Computed* computed) {
  v1::StoreResultRequest request;
  TIFFIN_ASSIGN_OR_RETURN(const Digest key, KeyOf(job));
  if (!computed->value) {
    const absl::Time start = absl::Now();
    absl::StatusOr<Value> value = Call(function);
    // A failure is not kept: whoever asks next tries again.
    if (!value.ok()) {
      return absl::AbortedError(StrCat("the job failed: ", ToStd(value.status().message())));
    }
    if (IsWorkflow(*value)) return Unfolds();
    computed->value = *std::move(value);
    computed->time = absl::Now() - start;
  }
  *request.mutable_caller() = impl_->caller();
  request.set_key(std::string(key.view()));
  if (computed->lease) {
    request.set_lease(computed->lease->id);
    request.set_epoch(computed->lease->epoch);
  }
  request.mutable_record()->set_json(PrintJson(*computed->value));
  ToProto(computed->time, request.mutable_compute_time());
  request.mutable_job()->set_json(PrintJson(job));
  // The work is not lost to its caller, even if nobody else will hear of it.
  const absl::Status spooled = impl_->spool.Add(request);
  if (spooled.ok()) {
    impl_->delivery.Begin();
  } else if (impl_->options.on_lost) {
    impl_->options.on_lost(key, spooled);
  }
  return *computed->value;
}

absl::StatusOr<Value> Client::RunWithServer(const Value& job, const JobFunction& function,
                                            Bulk bulk, Computed* computed) {
  TIFFIN_ASSIGN_OR_RETURN(
      Submitted submitted,
      Submit(job, {.bulk = bulk, .answer_failures = impl_->options.answer_failures}));
  if (submitted.result) return ValueOf(*std::move(submitted.result));
  const auto compute = [&](const Lease& lease, bool unfolding) -> absl::StatusOr<Value> {
    if (!unfolding) return Compute(submitted.key, lease, function, bulk, computed);
    Release(lease).IgnoreError();  // else it lapses
    return Unfolds();
  };
  if (submitted.lease) return compute(*submitted.lease, submitted.workflow.has_value());
  AwaitOptions options{.capacity = 1, .bulk = bulk};
  // The holder may have failed since.
  if (submitted.holder) options.after_epoch = submitted.holder->epoch;
  TIFFIN_ASSIGN_OR_RETURN(Awaited awaited, Await(submitted.key, options));
  if (awaited.result) return ValueOf(*std::move(awaited.result));
  return compute(*awaited.lease, awaited.workflow.has_value());
}

absl::StatusOr<Value> Client::Compute(const Digest& key, const Lease& lease,
                                      const JobFunction& function, Bulk bulk, Computed* computed) {
  const KeptLease kept(&impl_->keeper, lease, key);
  const auto start = std::chrono::steady_clock::now();
  absl::StatusOr<Value> value = Call(function);
  StoreOptions options;
  options.compute_time = absl::FromChrono(std::chrono::steady_clock::now() - start);
  if (value.ok() && IsWorkflow(*value)) {
    Release(lease).IgnoreError();
    return Unfolds();
  }
  if (value.ok()) *computed = {*value, options.compute_time, lease};
  if (!value.ok()) {
    options.exit_status = 1;
    const absl::Status told =
        StoreFailure(key, lease, ErrorRecord(value.status()), options).status();
    // A lease that was lost meanwhile is somebody else's to fail.
    if (!told.ok() && !absl::IsFailedPrecondition(told) && !absl::IsUnavailable(told)) return told;
    return absl::AbortedError(StrCat("the job failed: ", value.status().message()));
  }
  const absl::StatusOr<Stored> stored = Store(key, lease, *value, options);
  if (absl::IsAlreadyExists(stored.status())) {
    // Somebody else was first, with another value: all get the same.
    TIFFIN_ASSIGN_OR_RETURN(StoredResult first, Get(key, bulk));
    return ValueOf(std::move(first));
  }
  if (!stored.ok()) {
    // Who waits need not wait for the lease to lapse. If the server is away, it does.
    if (!absl::IsUnavailable(stored.status())) {
      Release(lease).IgnoreError();
    }
    return stored.status();
  }
  if (stored->blobs.empty() || bulk == Bulk::kInline) return value;
  TIFFIN_ASSIGN_OR_RETURN(StoredResult again, Get(key, bulk));
  return ValueOf(std::move(again));
}

std::future<absl::StatusOr<Value>> Client::RunAsync(Value job, JobFunction function, Bulk bulk) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<Value>>>();
  std::future<absl::StatusOr<Value>> future = promise->get_future();
  // The pool belongs to Impl: a queued task that kept Impl alive would keep itself alive.
  const std::weak_ptr<Impl> weak = impl_;
  impl_->RunOnPool([weak, promise, job = std::move(job), function = std::move(function), bulk] {
    absl::StatusOr<Value> value = absl::CancelledError("the client is gone");
    if (std::shared_ptr<Impl> impl = weak.lock()) {
      const std::shared_ptr<const Route> route = impl->route;
      value = Client(std::move(impl), route).Run(job, function, bulk);
    }
    // Only now, when this thread has let go of Impl: who waits may destroy the last Client.
    promise->set_value(std::move(value));
  });
  return future;
}

}  // namespace tiffin
