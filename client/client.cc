#include "client/client.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/escaping.h"
#include "client/client_impl.h"
#include "client/convert.h"
#include "common/job.h"
#include "common/json.h"
#include "common/status.h"

namespace tiffin {
namespace {

constexpr size_t kMessageBytes = 1 << 20;  // of jobs in one message of a batch
// Of jobs in one call: what is held in memory as text, and sent again after a broken stream.
constexpr size_t kCallBytes = 32 << 20;
constexpr size_t kMaxItems = 10'000;  // in one message of a batch

absl::Status NotAnswered() { return absl::InternalError("the server did not answer this job"); }

std::string NewRequestId() { return absl::BytesToHexString(RandomBytes(16)); }

void FillOptions(const ClientOptions& client, const SubmitOptions& options,
                 v1::SubmitOptions* out) {
  out->set_can_compute(options.can_compute);
  out->set_discard_result(options.discard_result);
  if (options.answer_failures > absl::ZeroDuration()) {
    ToProto(options.answer_failures, out->mutable_answer_failures());
  }
  out->set_bulk(ToProto(options.bulk));
  ToProto(client.lease_term, out->mutable_term());
}

}  // namespace

Client::Client(std::shared_ptr<Connection> connection, ClientOptions options)
    : impl_(std::make_shared<Impl>(std::move(connection), std::move(options))),
      route_(impl_->route) {}

Client::Client(std::shared_ptr<Impl> impl, std::shared_ptr<const Route> route)
    : impl_(std::move(impl)), route_(std::move(route)) {}

Client Client::Until(absl::Time deadline) const { return Client(impl_, route_->Until(deadline)); }

Connection& Client::connection() const { return route_->connection(); }
v1::Caller Client::caller() const { return impl_->caller(); }
const ClientOptions& Client::options() const { return impl_->options; }

absl::StatusOr<Digest> Client::KeyOf(const Value& job) const {
  return JobKey(job, {.allow_unversioned_main = impl_->options.allow_unversioned_main});
}

absl::StatusOr<Submitted> Client::Submit(const Value& job, const SubmitOptions& options) {
  v1::SubmitRequest request;
  // One id for all tries: the lease of a lost answer is found again.
  *request.mutable_caller() = impl_->caller(NewRequestId());
  request.mutable_job()->set_json(PrintJson(job));
  FillOptions(impl_->options, options, request.mutable_options());
  TIFFIN_ASSIGN_OR_RETURN(const v1::SubmitResponse response,
                          route_->Call(&Connection::Submit, request));
  return FromProto(response);
}

namespace {

// One call of SubmitBatch: the first jobs of those that are left, as many as kCallBytes take.
class BatchCall {
 public:
  // `requests[0]` has what the first message says beside jobs.
  BatchCall(v1::SubmitBatchRequest first, std::span<const Value> jobs) {
    requests_.push_back(std::move(first));
    size_t call_bytes = 0;
    size_t message_bytes = 0;
    for (; count_ < jobs.size() && call_bytes < kCallBytes; ++count_) {
      std::string json = PrintJson(jobs[count_]);
      call_bytes += json.size();
      const bool full = static_cast<size_t>(requests_.back().jobs_size()) == kMaxItems ||
                        message_bytes + json.size() > kMessageBytes;
      if (message_bytes > 0 && full) {
        requests_.emplace_back();
        message_bytes = 0;
      }
      message_bytes += json.size();
      requests_.back().add_jobs()->set_json(std::move(json));
    }
    answers_.resize(count_);
  }

  const std::vector<v1::SubmitBatchRequest>& requests() const { return requests_; }

  // True if it answers a job for the first time.
  bool Take(const v1::SubmitBatchResponse& response) {
    bool news = false;
    for (const auto& item : response.items()) {
      if (item.index() >= count_) continue;
      std::optional<absl::StatusOr<Submitted>>& answer = answers_[item.index()];
      news |= !answer.has_value();
      const absl::Status status = FromProto(item.status());
      answer = status.ok() ? FromProto(item.response()) : status;
    }
    return news;
  }

  bool answered_any() const {
    return std::any_of(answers_.begin(), answers_.end(),
                       [](const auto& a) { return a.has_value(); });
  }
  uint32_t granted() const {
    return static_cast<uint32_t>(std::count_if(answers_.begin(), answers_.end(), [](const auto& a) {
      return a.has_value() && a->ok() && (*a)->outcome == Submitted::Outcome::kGranted;
    }));
  }
  // Appends one answer for each job: `otherwise` for those that got none.
  void MoveTo(std::vector<absl::StatusOr<Submitted>>* out, const absl::Status& otherwise) {
    for (auto& answer : answers_) {
      out->push_back(answer.has_value() ? *std::move(answer) : otherwise);
    }
  }

 private:
  std::vector<v1::SubmitBatchRequest> requests_;
  size_t count_ = 0;
  std::vector<std::optional<absl::StatusOr<Submitted>>> answers_;
};

}  // namespace

absl::StatusOr<std::vector<absl::StatusOr<Submitted>>> Client::SubmitBatch(
    std::span<const Value> jobs, const SubmitOptions& options) {
  std::vector<absl::StatusOr<Submitted>> out;
  out.reserve(jobs.size());
  std::optional<uint32_t> grants = options.max_grants;
  while (out.size() < jobs.size()) {
    v1::SubmitBatchRequest first;
    *first.mutable_caller() = impl_->caller(NewRequestId());
    FillOptions(impl_->options, options, first.mutable_options());
    if (grants) first.set_max_grants(*grants);
    BatchCall call(std::move(first), jobs.subspan(out.size()));
    const absl::Status status = route_->Repeat([&](bool* progress) {
      return route_->connection().SubmitBatch(
          call.requests(),
          [&](const v1::SubmitBatchResponse& response) { *progress |= call.Take(response); });
    });
    if (status.ok()) {
      if (grants) *grants -= std::min(*grants, call.granted());
      call.MoveTo(&out, NotAnswered());
      continue;
    }
    if (out.empty() && !call.answered_any()) return status;
    // What was answered is kept, since there may be leases in it.
    call.MoveTo(&out, status);
    out.resize(jobs.size(), status);
  }
  return out;
}

absl::StatusOr<StoredResult> Client::Get(const Digest& key, Bulk bulk) {
  v1::GetResultRequest request;
  *request.mutable_caller() = impl_->caller();
  request.mutable_job()->set_key(std::string(key.view()));
  request.set_bulk(ToProto(bulk));
  TIFFIN_ASSIGN_OR_RETURN(const v1::GetResultResponse response,
                          route_->Call(&Connection::GetResult, request));
  return FromProto(response.result());
}

absl::StatusOr<StoredResult> Client::GetByAlias(std::string_view profile, std::string_view name,
                                                Bulk bulk) {
  v1::GetResultRequest request;
  *request.mutable_caller() = impl_->caller();
  request.mutable_job()->mutable_alias()->set_profile(std::string(profile));
  request.mutable_job()->mutable_alias()->set_name(std::string(name));
  request.set_bulk(ToProto(bulk));
  TIFFIN_ASSIGN_OR_RETURN(const v1::GetResultResponse response,
                          route_->Call(&Connection::GetResult, request));
  return FromProto(response.result());
}

absl::StatusOr<std::vector<absl::StatusOr<StoredResult>>> Client::BatchGet(
    std::span<const Digest> keys, Bulk bulk) {
  std::vector<absl::StatusOr<StoredResult>> out(keys.size(), NotAnswered());
  std::vector<size_t> left(keys.size());  // places in `keys`
  std::iota(left.begin(), left.end(), 0);
  const absl::Status status = route_->Repeat([&](bool* progress) {
    std::vector<v1::BatchGetResultsRequest> requests;
    for (size_t i = 0; i < left.size(); ++i) {
      if (i % kMaxItems == 0) requests.emplace_back();
      requests.back().add_jobs()->set_key(std::string(keys[left[i]].view()));
    }
    if (requests.empty()) return absl::OkStatus();
    *requests[0].mutable_caller() = impl_->caller();
    requests[0].set_bulk(ToProto(bulk));
    std::vector<bool> answered(left.size());
    const absl::Status ended = route_->connection().BatchGetResults(
        requests, [&](const v1::BatchGetResultsResponse& response) {
          for (const auto& item : response.items()) {
            if (item.index() >= left.size()) continue;
            const absl::Status status = FromProto(item.status());
            out[left[item.index()]] = status.ok() ? FromProto(item.result()) : status;
            answered[item.index()] = *progress = true;
          }
        });
    // A broken stream is asked again for what it did not answer.
    std::vector<size_t> unanswered;
    for (size_t i = 0; i < left.size(); ++i) {
      if (!answered[i]) unanswered.push_back(left[i]);
    }
    left = std::move(unanswered);
    return ended;
  });
  if (!status.ok()) return status;
  return out;
}

namespace {

void Fill(const Value& value, const StoreOptions& options, v1::StoreResultRequest* request) {
  request->mutable_record()->set_json(PrintJson(value));
  request->set_retryable(options.retryable);
  ToProto(options.compute_time, request->mutable_compute_time());
  request->set_exit_status(options.exit_status);
  request->set_log(options.log);
}

}  // namespace

absl::StatusOr<Stored> Client::Store(const Digest& key, const std::optional<Lease>& lease,
                                     const Value& value, const StoreOptions& options) {
  v1::StoreResultRequest request;
  *request.mutable_caller() = impl_->caller();
  request.set_key(std::string(key.view()));
  if (lease) {
    request.set_lease(lease->id);
    request.set_epoch(lease->epoch);
  }
  Fill(value, options, &request);
  TIFFIN_ASSIGN_OR_RETURN(const v1::StoreResultResponse response,
                          route_->Call(&Connection::StoreResult, request));
  return FromProto(response);
}

absl::StatusOr<Stored> Client::StoreJob(const Value& job, const Value& value,
                                        const StoreOptions& options) {
  v1::StoreResultRequest request;
  *request.mutable_caller() = impl_->caller();
  request.mutable_job()->set_json(PrintJson(job));
  Fill(value, options, &request);
  TIFFIN_ASSIGN_OR_RETURN(const v1::StoreResultResponse response,
                          route_->Call(&Connection::StoreResult, request));
  return FromProto(response);
}

absl::StatusOr<Stored> Client::StoreFailure(const Digest& key, const Lease& lease,
                                            const Value& error, const StoreOptions& options) {
  v1::StoreResultRequest request;
  *request.mutable_caller() = impl_->caller();
  request.set_key(std::string(key.view()));
  request.set_lease(lease.id);
  request.set_epoch(lease.epoch);
  request.set_kind(v1::RESULT_KIND_ERROR);
  Fill(error, options, &request);
  TIFFIN_ASSIGN_OR_RETURN(const v1::StoreResultResponse response,
                          route_->Call(&Connection::StoreResult, request));
  return FromProto(response);
}

absl::Status Client::Link(const Digest& key, const Lease& lease, const Digest& target) {
  v1::LinkRequest request;
  *request.mutable_caller() = impl_->caller();
  request.set_key(std::string(key.view()));
  request.set_lease(lease.id);
  request.set_target(std::string(target.view()));
  return route_->Call(&Connection::Link, request).status();
}

absl::Status Client::Release(const Lease& lease) {
  v1::ReleaseRequest request;
  *request.mutable_caller() = impl_->caller();
  request.add_leases(lease.id);
  return route_->Call(&Connection::Release, request).status();
}

absl::StatusOr<std::vector<Client::Renewal>> Client::Renew(std::span<const Lease> leases,
                                                           bool progress) {
  std::vector<Renewal> out;
  out.reserve(leases.size());
  while (out.size() < leases.size()) {
    const auto part =
        leases.subspan(out.size(), std::min(kMaxRenewals, leases.size() - out.size()));
    RenewalPlan::Batch batch{.progress = progress};
    for (const Lease& lease : part) {
      batch.ids.push_back(lease.id);
      batch.timeout = std::min(batch.timeout, RenewTimeout(TermOf(lease)));
    }
    std::vector<Renewal> outcomes;
    TIFFIN_RETURN_IF_ERROR(route_->Repeat([&](bool*) -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(outcomes, impl_->RenewOnce(*route_, batch));
      return absl::OkStatus();
    }));
    out.insert(out.end(), outcomes.begin(), outcomes.end());
  }
  return out;
}

void Client::NoteProgress(const Digest& key) { impl_->keeper.NoteProgress(key); }

absl::Status Client::SetAlias(std::string_view profile, std::string_view name, const Digest& key,
                              bool replace) {
  v1::AliasRequest request;
  *request.mutable_caller() = impl_->caller();
  request.mutable_set()->mutable_alias()->set_profile(std::string(profile));
  request.mutable_set()->mutable_alias()->set_name(std::string(name));
  request.mutable_set()->set_key(std::string(key.view()));
  request.mutable_set()->set_replace(replace);
  // Once: a second try could take back what somebody has set after a first, whose answer was lost,
  // or which gRPC gave up for want of memory.
  if (replace) return route_->connection().Alias(request).status();
  return route_->Call(&Connection::Alias, request).status();
}

}  // namespace tiffin
