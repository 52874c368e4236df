// Waiting for jobs, and running them.
#include <atomic>
#include <exception>
#include <utility>

#include "client/client.h"
#include "client/client_impl.h"
#include "client/convert.h"
#include "common/json.h"
#include "common/status.h"

namespace tiffin {
namespace {

absl::StatusOr<Awaited> FromProto(const v1::AwaitResponse& response) {
  Awaited out;
  TIFFIN_ASSIGN_OR_RETURN(out.key, Digest::FromBytes(response.key()));
  out.event = response.event() == v1::AWAIT_RESULT   ? Awaited::Event::kResult
              : response.event() == v1::AWAIT_FAILED ? Awaited::Event::kFailed
                                                     : Awaited::Event::kGranted;
  if (response.has_result()) {
    TIFFIN_ASSIGN_OR_RETURN(out.result, tiffin::FromProto(response.result()));
  }
  if (response.has_lease()) out.lease = tiffin::FromProto(response.lease());
  if (response.has_workflow()) {
    TIFFIN_ASSIGN_OR_RETURN(out.workflow, tiffin::FromProto(response.workflow()));
  }
  return out;
}

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
  bool stop_ = false;
  std::atomic<bool> passed_{false};
  std::thread thread_;
};

Value ErrorRecord(const absl::Status& status) {
  return Value(Object{{"error", Value(absl::StatusCodeToString(status.code()))},
                      {"message", Value(std::string(ToStd(status.message())))}});
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
  std::vector<bool> ended(keys.size(), false);
  size_t left = keys.size();
  uint32_t capacity = options.capacity;
  absl::Status stopped;
  const auto once = [&]() -> absl::Status {
    std::vector<size_t> places;
    v1::AwaitRequest request;
    *request.mutable_caller() = impl_->caller();
    request.set_can_compute(options.capacity > 0);
    request.set_capacity(capacity);
    request.set_bulk(ToProto(options.bulk));
    ToProto(impl_->options.lease_term, request.mutable_term());
    for (size_t i = 0; i < keys.size(); ++i) {
      if (ended[i]) continue;
      places.push_back(i);
      v1::AwaitRequest::Item* item = request.add_items();
      item->mutable_job()->set_key(std::string(keys[i].view()));
      item->set_after_epoch(options.after_epoch);
    }
    const std::unique_ptr<AwaitStream> stream = impl_->connection->Await();
    const Deadline deadline(stream.get(), options.deadline);
    if (stream->Write(request)) stream->WritesDone();
    while (left > 0) {
      const absl::StatusOr<v1::AwaitResponse> response = stream->Read();
      if (deadline.passed()) return absl::DeadlineExceededError("the jobs have not all ended");
      if (absl::IsOutOfRange(response.status())) {
        return absl::UnavailableError("the stream ended before the jobs");
      }
      if (!response.ok()) return response.status();
      if (response->event() == v1::AWAIT_ATTACHED || response->event() == v1::AWAIT_OPEN) continue;
      if (response->index() >= places.size()) {
        return absl::InternalError("the server told of a job that was not asked for");
      }
      if (response->event() == v1::AWAIT_ERROR) return FromProto(response->status());
      TIFFIN_ASSIGN_OR_RETURN(Awaited awaited, FromProto(*response));
      awaited.index = places[response->index()];
      if (awaited.event == Awaited::Event::kGranted && capacity > 0) --capacity;
      ended[awaited.index] = true;
      --left;
      stopped = on_end(awaited);
      if (!stopped.ok()) return absl::OkStatus();
    }
    return absl::OkStatus();
  };
  TIFFIN_RETURN_IF_ERROR(impl_->Repeat(once));
  return stopped;
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
  Computed computed;
  absl::StatusOr<Value> result = RunWithServer(job, function, bulk, &computed);
  if (!absl::IsUnavailable(result.status())) {
    // It is back, so that what was spooled can go. That this may fail is not this job's affair.
    if (result.ok() && !impl_->spool.empty()) impl_->spool.Deliver(*impl_->connection).IgnoreError();
    return result;
  }
  if (impl_->options.on_unavailable == OnUnavailable::kFail) return result;
  return RunWithoutServer(job, function, &computed);
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
  TIFFIN_RETURN_IF_ERROR(impl_->spool.Add(request));
  return *computed->value;
}

absl::StatusOr<Value> Client::RunWithServer(const Value& job, const JobFunction& function,
                                            Bulk bulk, Computed* computed) {
  TIFFIN_ASSIGN_OR_RETURN(Submitted submitted, Submit(job, {.bulk = bulk}));
  std::optional<StoredResult> result = std::move(submitted.result);
  std::optional<Lease> lease = submitted.lease;
  if (!result && !lease) {
    TIFFIN_ASSIGN_OR_RETURN(Awaited awaited, Await(submitted.key, {.capacity = 1, .bulk = bulk}));
    if (awaited.event == Awaited::Event::kFailed) {
      return absl::AbortedError(StrCat("the job failed: ", ErrorText(*awaited.result)));
    }
    result = std::move(awaited.result);
    lease = awaited.lease;
  }
  if (result) return std::move(result->value);
  if (!lease) return absl::InternalError("the server gave neither result nor lease");

  impl_->keeper.Add(lease->id);
  const absl::Time start = absl::Now();
  const absl::StatusOr<Value> value = Call(function);
  StoreOptions options;
  options.compute_time = absl::Now() - start;
  if (value.ok()) *computed = {*value, options.compute_time, lease};
  if (!value.ok()) {
    options.exit_status = 1;
    const absl::Status told =
        StoreFailure(submitted.key, *lease, ErrorRecord(value.status()), options).status();
    impl_->keeper.Remove(lease->id);
    // A lease that was lost meanwhile is somebody else's to fail.
    if (!told.ok() && !absl::IsFailedPrecondition(told) && !absl::IsUnavailable(told)) return told;
    return absl::AbortedError(StrCat("the job failed: ", ToStd(value.status().message())));
  }
  const absl::StatusOr<Stored> stored = Store(submitted.key, lease, *value, options);
  impl_->keeper.Remove(lease->id);
  if (absl::IsAlreadyExists(stored.status())) {
    // Somebody else was first, with another value: all get the same.
    TIFFIN_ASSIGN_OR_RETURN(StoredResult first, Get(submitted.key, bulk));
    return std::move(first.value);
  }
  if (!stored.ok()) return stored.status();
  if (stored->blobs.empty() || bulk == Bulk::kInline) return value;
  TIFFIN_ASSIGN_OR_RETURN(StoredResult again, Get(submitted.key, bulk));
  return std::move(again.value);
}

std::future<absl::StatusOr<Value>> Client::RunAsync(Value job, JobFunction function, Bulk bulk) {
  auto promise = std::make_shared<std::promise<absl::StatusOr<Value>>>();
  std::future<absl::StatusOr<Value>> future = promise->get_future();
  // The pool belongs to Impl, so that the task must not keep Impl alive: a raw Client on it would.
  const std::weak_ptr<Impl> weak = impl_;
  impl_->RunOnPool([weak, promise, job = std::move(job), function = std::move(function), bulk] {
    absl::StatusOr<Value> value = absl::CancelledError("the client is gone");
    if (std::shared_ptr<Impl> impl = weak.lock()) value = Client(std::move(impl)).Run(job, function, bulk);
    // Only now, when this thread has let go of Impl: who waits may destroy the last Client.
    promise->set_value(std::move(value));
  });
  return future;
}

}  // namespace tiffin
