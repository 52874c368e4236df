#include "client/client.h"

#include <utility>

#include "absl/strings/escaping.h"
#include "client/client_impl.h"
#include "client/convert.h"
#include "common/job.h"
#include "common/json.h"
#include "common/status.h"

namespace tiffin {
namespace {

constexpr size_t kBatchBytes = 1 << 20;  // of one message of a batch

std::string NewRequestId() { return absl::BytesToHexString(RandomBytes(16)); }

void FillOptions(const ClientOptions& client, const SubmitOptions& options,
                 v1::SubmitOptions* out) {
  out->set_can_compute(options.can_compute);
  out->set_discard_result(options.discard_result);
  out->set_bulk(ToProto(options.bulk));
  ToProto(client.lease_term, out->mutable_term());
}

}  // namespace

Client::Client(std::shared_ptr<Connection> connection, ClientOptions options)
    : impl_(std::make_shared<Impl>(std::move(connection), std::move(options))) {}

Connection& Client::connection() const { return *impl_->connection; }
v1::Caller Client::caller() const { return impl_->caller(); }

absl::StatusOr<Digest> Client::KeyOf(const Value& job) const {
  return JobKey(job, {.allow_unversioned_main = impl_->options.allow_unversioned_main});
}

absl::StatusOr<Submitted> Client::Submit(const Value& job, const SubmitOptions& options) {
  v1::SubmitRequest request;
  // One id for all tries: the lease of a lost answer is found again.
  *request.mutable_caller() = impl_->caller(NewRequestId());
  request.mutable_job()->set_json(PrintJson(job));
  FillOptions(impl_->options, options, request.mutable_options());
  absl::StatusOr<v1::SubmitResponse> response;
  TIFFIN_RETURN_IF_ERROR(impl_->Repeat([&] {
    response = impl_->connection->Submit(request);
    return response.status();
  }));
  return FromProto(*response);
}

absl::StatusOr<std::vector<absl::StatusOr<Submitted>>> Client::SubmitBatch(
    std::span<const Value> jobs, const SubmitOptions& options) {
  std::vector<v1::SubmitBatchRequest> requests(1);
  *requests[0].mutable_caller() = impl_->caller(NewRequestId());
  FillOptions(impl_->options, options, requests[0].mutable_options());
  if (options.max_grants) requests[0].set_max_grants(*options.max_grants);
  size_t bytes = 0;
  for (const Value& job : jobs) {
    std::string json = PrintJson(job);
    if (bytes > 0 && bytes + json.size() > kBatchBytes) {
      requests.emplace_back();
      bytes = 0;
    }
    bytes += json.size();
    requests.back().add_jobs()->set_json(std::move(json));
  }
  std::vector<absl::StatusOr<Submitted>> out;
  TIFFIN_RETURN_IF_ERROR(impl_->Repeat([&] {
    out.assign(jobs.size(), absl::InternalError("the server did not answer this job"));
    return impl_->connection->SubmitBatch(requests, [&](const v1::SubmitBatchResponse& response) {
      for (const auto& item : response.items()) {
        if (item.index() >= out.size()) continue;
        const absl::Status status = FromProto(item.status());
        if (status.ok()) out[item.index()] = FromProto(item.response());
        else out[item.index()] = status;
      }
    });
  }));
  return out;
}

absl::StatusOr<StoredResult> Client::Get(const Digest& key, Bulk bulk) {
  v1::GetResultRequest request;
  *request.mutable_caller() = impl_->caller();
  request.mutable_job()->set_key(std::string(key.view()));
  request.set_bulk(ToProto(bulk));
  absl::StatusOr<v1::GetResultResponse> response;
  TIFFIN_RETURN_IF_ERROR(impl_->Repeat([&] {
    response = impl_->connection->GetResult(request);
    return response.status();
  }));
  return FromProto(response->result());
}

absl::StatusOr<StoredResult> Client::GetByAlias(std::string_view profile, std::string_view name,
                                                Bulk bulk) {
  v1::GetResultRequest request;
  *request.mutable_caller() = impl_->caller();
  request.mutable_job()->mutable_alias()->set_profile(std::string(profile));
  request.mutable_job()->mutable_alias()->set_name(std::string(name));
  request.set_bulk(ToProto(bulk));
  absl::StatusOr<v1::GetResultResponse> response;
  TIFFIN_RETURN_IF_ERROR(impl_->Repeat([&] {
    response = impl_->connection->GetResult(request);
    return response.status();
  }));
  return FromProto(response->result());
}

absl::StatusOr<std::vector<absl::StatusOr<StoredResult>>> Client::BatchGet(
    std::span<const Digest> keys, Bulk bulk) {
  v1::BatchGetResultsRequest request;
  *request.mutable_caller() = impl_->caller();
  request.set_bulk(ToProto(bulk));
  for (const Digest& key : keys) request.add_jobs()->set_key(std::string(key.view()));
  absl::StatusOr<v1::BatchGetResultsResponse> response;
  TIFFIN_RETURN_IF_ERROR(impl_->Repeat([&] {
    response = impl_->connection->BatchGetResults(request);
    return response.status();
  }));
  if (response->items_size() != static_cast<int>(keys.size())) {
    return absl::InternalError("the server answered another number of jobs");
  }
  std::vector<absl::StatusOr<StoredResult>> out;
  for (int i = 0; i < response->items_size(); ++i) {
    const auto& item = response->items(i);
    const absl::Status status = FromProto(item.status());
    if (!status.ok()) out.push_back(status);
    else if (item.present()) out.push_back(Get(keys[i], bulk));  // over the reply's budget
    else out.push_back(FromProto(item.result()));
  }
  return out;
}

namespace {

absl::StatusOr<Stored> FromProto(const v1::StoreResultResponse& response) {
  Stored stored;
  TIFFIN_ASSIGN_OR_RETURN(stored.key, Digest::FromBytes(response.key()));
  TIFFIN_ASSIGN_OR_RETURN(stored.digest, Digest::FromBytes(response.digest()));
  stored.repeated = response.repeated_store();
  for (const v1::BlobName& name : response.stored_blobs()) {
    TIFFIN_ASSIGN_OR_RETURN(BlobName blob, tiffin::FromProto(name));
    stored.blobs.push_back(std::move(blob));
  }
  return stored;
}

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
  absl::StatusOr<v1::StoreResultResponse> response;
  TIFFIN_RETURN_IF_ERROR(impl_->Repeat([&] {
    response = impl_->connection->StoreResult(request);
    return response.status();
  }));
  return FromProto(*response);
}

absl::StatusOr<Stored> Client::StoreJob(const Value& job, const Value& value,
                                        const StoreOptions& options) {
  v1::StoreResultRequest request;
  *request.mutable_caller() = impl_->caller();
  request.mutable_job()->set_json(PrintJson(job));
  Fill(value, options, &request);
  absl::StatusOr<v1::StoreResultResponse> response;
  TIFFIN_RETURN_IF_ERROR(impl_->Repeat([&] {
    response = impl_->connection->StoreResult(request);
    return response.status();
  }));
  return FromProto(*response);
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
  absl::StatusOr<v1::StoreResultResponse> response;
  TIFFIN_RETURN_IF_ERROR(impl_->Repeat([&] {
    response = impl_->connection->StoreResult(request);
    return response.status();
  }));
  return FromProto(*response);
}

absl::Status Client::Link(const Digest& key, const Lease& lease, const Digest& target) {
  v1::LinkRequest request;
  *request.mutable_caller() = impl_->caller();
  request.set_key(std::string(key.view()));
  request.set_lease(lease.id);
  request.set_target(std::string(target.view()));
  return impl_->Repeat([&] { return impl_->connection->Link(request).status(); });
}

absl::Status Client::Release(const Lease& lease) {
  v1::ReleaseRequest request;
  *request.mutable_caller() = impl_->caller();
  request.add_leases(lease.id);
  return impl_->Repeat([&] { return impl_->connection->Release(request).status(); });
}

absl::StatusOr<std::vector<Client::Renewal>> Client::Renew(std::span<const Lease> leases) {
  v1::RenewRequest request;
  *request.mutable_caller() = impl_->caller();
  for (const Lease& lease : leases) request.add_leases(lease.id);
  absl::StatusOr<v1::RenewResponse> response;
  TIFFIN_RETURN_IF_ERROR(impl_->Repeat([&] {
    response = impl_->connection->Renew(request);
    return response.status();
  }));
  std::vector<Renewal> out;
  for (const int outcome : response->outcomes()) {
    out.push_back(outcome == v1::RenewResponse::RENEWED          ? Renewal::kRenewed
                  : outcome == v1::RenewResponse::DONE_ELSEWHERE ? Renewal::kDoneElsewhere
                                                                 : Renewal::kLost);
  }
  return out;
}

absl::Status Client::SetAlias(std::string_view profile, std::string_view name, const Digest& key,
                              bool replace) {
  v1::AliasRequest request;
  *request.mutable_caller() = impl_->caller();
  request.mutable_set()->mutable_alias()->set_profile(std::string(profile));
  request.mutable_set()->mutable_alias()->set_name(std::string(name));
  request.mutable_set()->set_key(std::string(key.view()));
  request.mutable_set()->set_replace(replace);
  return impl_->Repeat([&] { return impl_->connection->Alias(request).status(); });
}

}  // namespace tiffin
