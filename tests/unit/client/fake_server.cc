#include "tests/unit/client/fake_server.h"

#include <algorithm>

#include "client/convert.h"
#include "common/cbor.h"
#include "common/job.h"
#include "common/json.h"
#include "common/status.h"

namespace tiffin::testing {
namespace {

constexpr int kMaxBatch = 10'000;  // as the server has it

v1::Result ResultOf(const std::string& json, v1::ResultKind kind) {
  v1::Result result;
  result.set_kind(kind);
  result.mutable_record()->set_json(json);
  result.set_digest(std::string(ResultDigest(*ParseJson(json))->view()));
  return result;
}

Digest DigestOf(const std::string& bytes) { return *Digest::FromBytes(bytes); }

}  // namespace

// ---- faults and what was seen -------------------------------------------------------------------

void FakeServer::FailNext(const std::string& rpc, const absl::Status& status, int times) {
  std::lock_guard lock(mutex_);
  failures_[rpc].insert(failures_[rpc].end(), times, status);
}

void FakeServer::LoseNextAnswer(const std::string& rpc) {
  std::lock_guard lock(mutex_);
  lost_answers_.insert(rpc);
}

void FakeServer::CallOnce(std::function<void()>* function) {
  std::unique_lock lock(mutex_);
  const std::function<void()> taken = std::exchange(*function, nullptr);
  lock.unlock();  // it may ask this server for something
  if (taken) taken();
}

absl::Status FakeServer::Begin(const std::string& rpc) {
  ++calls_[rpc];
  Changed();
  std::deque<absl::Status>& failures = failures_[rpc];
  if (failures.empty()) return absl::OkStatus();
  const absl::Status status = failures.front();
  failures.pop_front();
  return status;
}

absl::Status FakeServer::End(const std::string& rpc) {
  Changed();
  if (lost_answers_.erase(rpc) == 0) return absl::OkStatus();
  return absl::UnavailableError("the connection broke before the answer");
}

int FakeServer::Calls(const std::string& rpc) {
  std::lock_guard lock(mutex_);
  return calls_[rpc];
}

std::vector<v1::SubmitRequest> FakeServer::submits() {
  std::lock_guard lock(mutex_);
  return submits_;
}
std::vector<std::vector<v1::SubmitBatchRequest>> FakeServer::submit_batches() {
  std::lock_guard lock(mutex_);
  return submit_batches_;
}
std::vector<v1::AwaitRequest> FakeServer::awaits() {
  std::lock_guard lock(mutex_);
  return awaits_;
}
std::vector<v1::StoreResultRequest> FakeServer::stores() {
  std::lock_guard lock(mutex_);
  return stores_;
}
std::vector<v1::RenewRequest> FakeServer::renews() {
  std::lock_guard lock(mutex_);
  return renews_;
}
std::vector<v1::BatchPutRequest> FakeServer::batch_puts() {
  std::lock_guard lock(mutex_);
  return batch_puts_;
}
std::vector<v1::DerefRequest> FakeServer::derefs() {
  std::lock_guard lock(mutex_);
  return derefs_;
}
std::vector<uint64_t> FakeServer::put_offsets() {
  std::lock_guard lock(mutex_);
  return put_offsets_;
}

int FakeServer::Renewals(const std::string& lease) {
  std::lock_guard lock(mutex_);
  return renewals_[lease];
}

void FakeServer::WaitUntil(const std::function<bool()>& condition) {
  std::unique_lock lock(mutex_);
  while (true) {
    // Asked without the lock, which it takes itself.
    const uint64_t before = changes_;
    lock.unlock();
    if (condition()) return;
    lock.lock();
    changed_.wait(lock, [&] { return changes_ != before; });
  }
}

// ---- jobs ---------------------------------------------------------------------------------------

v1::Lease FakeServer::NewLease() {
  v1::Lease lease;
  lease.set_epoch(++epochs_);
  lease.set_id(StrCat("lease-", lease.epoch()));
  ToProto(term, lease.mutable_term());
  return lease;
}

v1::Holder FakeServer::HolderOf(const Job& job) const {
  v1::Holder holder;
  holder.set_session("somebody");
  holder.set_epoch(job.lease->epoch());
  return holder;
}

int64_t FakeServer::HoldElsewhere(const Digest& key) {
  std::lock_guard lock(mutex_);
  jobs_[key].lease = NewLease();
  return epochs_;
}

void FakeServer::StoreElsewhere(const Digest& key, const Value& value) {
  std::lock_guard lock(mutex_);
  Job& job = jobs_[key];
  job.lease.reset();
  job.result = ResultOf(PrintJson(value), v1::RESULT_KIND_VALUE);
  v1::AwaitResponse response;
  response.set_event(v1::AWAIT_RESULT);
  *response.mutable_result() = *job.result;
  Tell(key, response);
}

void FakeServer::FailElsewhere(const Digest& key, const std::string& message) {
  std::lock_guard lock(mutex_);
  Job& job = jobs_[key];
  job.failure = ResultOf(PrintJson(Object{{"message", message}}), v1::RESULT_KIND_ERROR);
  job.failure_epoch = job.lease->epoch();
  job.lease.reset();
  v1::AwaitResponse response;
  response.set_event(v1::AWAIT_FAILED);
  *response.mutable_result() = *job.failure;
  Tell(key, response);
}

void FakeServer::Lapse(const Digest& key) {
  std::lock_guard lock(mutex_);
  jobs_[key].lease.reset();
  Offer(key);
}

absl::StatusOr<v1::SubmitResponse> FakeServer::SubmitOne(const std::string& json, bool can_compute,
                                                         const std::string& request_id,
                                                         bool answer_failures) {
  TIFFIN_ASSIGN_OR_RETURN(const Value record, ParseJson(json));
  TIFFIN_ASSIGN_OR_RETURN(const Digest key, JobKey(record));
  Job& job = jobs_[key];
  v1::SubmitResponse response;
  response.set_key(std::string(key.view()));
  if (job.result) {
    response.set_outcome(v1::RETRIEVED);
    *response.mutable_result() = *job.result;
    return response;
  }
  if (job.lease && job.request_id != request_id) {
    response.set_outcome(v1::ATTACHED);
    *response.mutable_holder() = HolderOf(job);
    return response;
  }
  if (job.failure && answer_failures) {  // each is recent
    response.set_outcome(v1::FAILED);
    *response.mutable_result() = *job.failure;
    return response;
  }
  if (!can_compute) {
    response.set_outcome(v1::OPEN);
    return response;
  }
  if (!job.lease) job.lease = NewLease();
  job.request_id = request_id;
  response.set_outcome(v1::GRANTED);
  *response.mutable_lease() = *job.lease;
  return response;
}

absl::StatusOr<v1::SubmitResponse> FakeServer::Submit(const v1::SubmitRequest& request) {
  std::lock_guard lock(mutex_);
  submits_.push_back(request);
  TIFFIN_RETURN_IF_ERROR(Begin("Submit"));
  auto response = SubmitOne(request.job().json(), request.options().can_compute(),
                            request.caller().request_id(), request.options().has_answer_failures());
  TIFFIN_RETURN_IF_ERROR(End("Submit"));
  return response;
}

absl::Status FakeServer::SubmitBatch(
    const std::vector<v1::SubmitBatchRequest>& requests,
    const std::function<void(const v1::SubmitBatchResponse&)>& on_response) {
  std::lock_guard lock(mutex_);
  submit_batches_.push_back(requests);
  TIFFIN_RETURN_IF_ERROR(Begin("SubmitBatch"));
  const int breaks_after = NextBreak();
  const v1::SubmitBatchRequest& first = requests.at(0);
  int64_t grants = first.has_max_grants() ? first.max_grants() : kMaxBatch;
  int index = 0;
  for (const v1::SubmitBatchRequest& request : requests) {
    for (const v1::Record& job : request.jobs()) {
      if (index == breaks_after) return absl::UnavailableError("broken");
      v1::SubmitBatchResponse response;
      auto* item = response.add_items();
      item->set_index(index);
      const auto answer = SubmitOne(job.json(), first.options().can_compute() && grants > 0,
                                    StrCat(first.caller().request_id(), "#", index),
                                    first.options().has_answer_failures());
      ++index;
      if (answer.ok()) {
        *item->mutable_response() = *answer;
        if (answer->outcome() == v1::GRANTED) --grants;
      } else {
        item->mutable_status()->set_code(static_cast<int>(answer.status().code()));
        item->mutable_status()->set_message(std::string(answer.status().message()));
      }
      on_response(response);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::GetResultResponse> FakeServer::GetResult(const v1::GetResultRequest& request) {
  std::lock_guard lock(mutex_);
  TIFFIN_RETURN_IF_ERROR(Begin("GetResult"));
  const Job& job = jobs_[DigestOf(request.job().key())];
  if (!job.result) return absl::NotFoundError("never computed");
  v1::GetResultResponse response;
  response.set_key(request.job().key());
  *response.mutable_result() = *job.result;
  return response;
}

int FakeServer::NextBreak() {
  if (batch_breaks_after.empty()) return -1;
  const int after = batch_breaks_after.front();
  batch_breaks_after.pop_front();
  return after;
}

absl::Status FakeServer::BatchGetResults(
    const std::vector<v1::BatchGetResultsRequest>& requests,
    const std::function<void(const v1::BatchGetResultsResponse&)>& on_response) {
  std::lock_guard lock(mutex_);
  TIFFIN_RETURN_IF_ERROR(Begin("BatchGetResults"));
  const int breaks_after = NextBreak();
  int index = 0;
  for (const v1::BatchGetResultsRequest& request : requests) {
    if (request.jobs_size() > kMaxBatch) return absl::InvalidArgumentError("too many keys");
    for (const v1::JobName& name : request.jobs()) {
      if (index == breaks_after) return absl::UnavailableError("broken");
      v1::BatchGetResultsResponse response;
      auto* item = response.add_items();
      item->set_index(index++);
      item->set_key(name.key());
      const auto job = jobs_.find(DigestOf(name.key()));
      if (job == jobs_.end() || !job->second.result) {
        item->mutable_status()->set_code(static_cast<int>(absl::StatusCode::kNotFound));
      } else {
        *item->mutable_result() = *job->second.result;
      }
      on_response(response);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::RenewResponse> FakeServer::Renew(const v1::RenewRequest& request) {
  std::lock_guard lock(mutex_);
  renews_.push_back(request);
  TIFFIN_RETURN_IF_ERROR(Begin("Renew"));
  if (request.leases_size() > kMaxBatch) return absl::InvalidArgumentError("too many leases");
  v1::RenewResponse response;
  for (const std::string& lease : request.leases()) {
    const bool live = std::any_of(jobs_.begin(), jobs_.end(), [&](const auto& job) {
      return job.second.lease && job.second.lease->id() == lease;
    });
    if (live) ++renewals_[lease];
    response.add_outcomes(live ? v1::RenewResponse::RENEWED : v1::RenewResponse::LOST);
  }
  Changed();
  return response;
}

absl::StatusOr<v1::ReleaseResponse> FakeServer::Release(const v1::ReleaseRequest& request) {
  std::lock_guard lock(mutex_);
  TIFFIN_RETURN_IF_ERROR(Begin("Release"));
  v1::ReleaseResponse response;
  for (const std::string& lease : request.leases()) {
    for (auto& [key, job] : jobs_) {
      if (!job.lease || job.lease->id() != lease) continue;
      job.lease.reset();
      response.set_released(response.released() + 1);
      Offer(key);
    }
  }
  return response;
}

absl::StatusOr<v1::StoreResultResponse> FakeServer::StoreResult(
    const v1::StoreResultRequest& request) {
  std::lock_guard lock(mutex_);
  stores_.push_back(request);
  TIFFIN_RETURN_IF_ERROR(Begin("StoreResult"));
  const Digest key = DigestOf(request.key());
  Job& job = jobs_[key];
  v1::StoreResultResponse response;
  response.set_key(request.key());
  v1::AwaitResponse told;
  if (request.kind() == v1::RESULT_KIND_ERROR) {
    if (!job.lease || job.lease->id() != request.lease()) {
      return absl::FailedPreconditionError("lease: not live");
    }
    job.failure = ResultOf(request.record().json(), v1::RESULT_KIND_ERROR);
    job.failure_epoch = request.epoch();
    response.set_digest(job.failure->digest());
    told.set_event(v1::AWAIT_FAILED);
    *told.mutable_result() = *job.failure;
  } else {
    const v1::Result result = ResultOf(request.record().json(), v1::RESULT_KIND_VALUE);
    if (job.result && job.result->digest() != result.digest()) {
      return absl::AlreadyExistsError("the job is done with another value");
    }
    response.set_repeated_store(job.result.has_value());
    response.set_digest(result.digest());
    job.result = result;
    told.set_event(v1::AWAIT_RESULT);
    *told.mutable_result() = result;
  }
  job.lease.reset();
  Tell(key, told);
  TIFFIN_RETURN_IF_ERROR(End("StoreResult"));
  return response;
}

absl::StatusOr<v1::LinkResponse> FakeServer::Link(const v1::LinkRequest&) {
  std::lock_guard lock(mutex_);
  TIFFIN_RETURN_IF_ERROR(Begin("Link"));
  return v1::LinkResponse();
}

absl::StatusOr<v1::AliasResponse> FakeServer::Alias(const v1::AliasRequest&) {
  std::lock_guard lock(mutex_);
  TIFFIN_RETURN_IF_ERROR(Begin("Alias"));
  TIFFIN_RETURN_IF_ERROR(End("Alias"));
  return v1::AliasResponse();
}

// ---- Admin --------------------------------------------------------------------------------------

absl::StatusOr<v1::DescribeResponse> FakeServer::Describe(const v1::DescribeRequest&) {
  return absl::UnimplementedError("not needed");
}
absl::StatusOr<v1::StatsResponse> FakeServer::Stats(const v1::StatsRequest&) {
  return absl::UnimplementedError("not needed");
}
absl::StatusOr<v1::SealResponse> FakeServer::Seal(const v1::SealRequest&) {
  return absl::UnimplementedError("not needed");
}
absl::Status FakeServer::CheckHealth(absl::Duration) { return absl::OkStatus(); }

Value JobOf(int argument) {
  return Value(Object{{"function", "f"}, {"arguments", List{argument}}, {"version", "1"}});
}

Digest KeyOf(const Value& job) { return *JobKey(job); }

}  // namespace tiffin::testing
