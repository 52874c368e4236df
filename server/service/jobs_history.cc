// GetJob, ListJobs, Invalidate, Explain.
#include <algorithm>
#include <functional>

#include "common/base64.h"
#include "common/status.h"
#include "server/service/convert.h"
#include "server/service/jobs_service.h"

namespace tiffin::server {
namespace {

using server::FromProto;
using server::ToProto;

constexpr size_t kFrameBytes = 1000;  // of a message around a job
constexpr size_t kPageBytes = 4 << 20;

absl::Time TimeFromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

void ToProto(const SessionRow& session, v1::Session* out) {
  out->set_id(session.token);
  out->set_name(session.name);
  out->set_user(session.user);
  out->set_host(session.host);
  out->set_script(session.script);
  ToProto(session.since, out->mutable_since());
}

// The wire's numbers are one more than the rows', whose 0 is a state.
v1::JobState ToProto(JobState state) {
  return static_cast<v1::JobState>(static_cast<int>(state) + 1);
}

void ToProto(const std::vector<RelatedJob>& jobs,
             google::protobuf::RepeatedPtrField<v1::JobInfo::Related>* out) {
  for (const RelatedJob& job : jobs) {
    v1::JobInfo::Related* related = out->Add();
    related->set_key(std::string(job.key.view()));
    related->set_function(job.function);
    if (job.blob) ToProto(*job.blob, related->mutable_blob());
  }
}

void ToProto(const JobView& view, bool records, v1::JobInfo* out) {
  const JobRow& row = view.row;
  out->set_key(std::string(row.key.view()));
  out->set_function(row.function);
  out->set_version(row.version);
  out->set_state(ToProto(row.state));
  ToProto(row.created, out->mutable_created());
  if (view.submitter) ToProto(*view.submitter, out->mutable_submitter());
  if (records) out->mutable_record()->set_json(view.record);
  if (view.result) ToProto(*view.result, out->mutable_result());
  if (view.result && !records) {  // a page of them fits a message
    out->mutable_result()->clear_record();
    out->mutable_result()->clear_log();
  }
  if (view.holder) ToProto(*view.holder, out->mutable_holder());
  out->set_waiting(static_cast<uint32_t>(view.waiting));
  for (const WaiterInfo& each : view.waiters) {
    v1::JobInfo::Waiter* waiter = out->add_waiters();
    ToProto(each.session, waiter->mutable_session());
    ToProto(each.since, waiter->mutable_since());
    waiter->set_can_compute(each.can_compute);
  }
  if (view.linked_to) out->set_linked_to(std::string(view.linked_to->view()));
  out->set_hits(view.hits.hits);
  if (view.hits.hits > 0) ToProto(view.hits.last, out->mutable_last_hit());
  for (const EvidenceView& each : view.evidence) {
    v1::JobInfo::Evidence* evidence = out->add_evidence();
    evidence->set_digest(std::string(each.row.digest.view()));
    ToProto(each.session, evidence->mutable_session());
    ToProto(each.row.at, evidence->mutable_at());
  }
  out->set_losses(static_cast<uint32_t>(row.losses));
  out->set_tombstone(static_cast<v1::Tombstone>(row.tombstone));
  if (row.tombstone != Tombstone::kNone) ToProto(row.buried, out->mutable_removed());
  out->set_epoch(row.epoch);
  for (const BlobName& name : view.used) ToProto(name, out->add_used());
  for (const BlobName& name : view.made) ToProto(name, out->add_made());
  ToProto(view.inputs, out->mutable_inputs());
  ToProto(view.outputs, out->mutable_outputs());
}

absl::StatusOr<JobFilter> FromProto(const v1::JobFilter& filter) {
  JobFilter out;
  out.function = filter.function();
  if (filter.has_version()) out.version = filter.version();
  out.session = filter.session();
  out.host = filter.host();
  for (const int state : filter.states()) {
    if (state <= v1::JOB_STATE_UNSPECIFIED || state > v1::JOB_FAILED) {
      return absl::InvalidArgumentError("filter.states: unknown");
    }
    out.states.push_back(static_cast<JobState>(state - 1));
  }
  if (filter.has_created_after()) out.created_after = TimeFromProto(filter.created_after());
  if (filter.has_created_before()) out.created_before = TimeFromProto(filter.created_before());
  if (filter.has_stored_before()) out.stored_before = TimeFromProto(filter.stored_before());
  out.nondeterministic = filter.nondeterministic();
  out.leased = filter.leased();
  return out;
}

// Page tokens: the last job looked at, and what the pages are of.
std::string MarkOf(const v1::ListJobsRequest& request) {
  v1::ListJobsRequest same;
  *same.mutable_filter() = request.filter();
  same.set_newest_first(request.newest_first());
  same.mutable_caller()->set_namespace_(request.caller().namespace_());
  return std::string(Sha256::Of(same.SerializeAsString()).view().substr(0, 6));
}
std::string TokenOf(RowId row, const std::string& mark) {
  return Base64UrlEncode(mark + std::to_string(row));
}
absl::StatusOr<RowId> FromToken(const std::string& token, const std::string& mark) {
  if (token.empty()) return 0;
  const auto bytes = Base64UrlDecode(token);
  int64_t row = 0;
  if (!bytes || !bytes->starts_with(mark) || !absl::SimpleAtoi(bytes->substr(6), &row)) {
    return absl::InvalidArgumentError("page_token: not of a page with this filter");
  }
  return row;
}

}  // namespace

namespace {

// Leaves out what makes it too large for one message, the easiest to be had elsewhere first.
void FitMessage(size_t max_bytes, v1::JobInfo* job) {
  const auto leave_out = [&](const char* what, const std::function<void()>& clear) {
    if (job->ByteSizeLong() <= max_bytes) return;
    clear();
    job->add_left_out(what);
  };
  if (job->has_result()) leave_out("result.record", [&] { job->mutable_result()->clear_record(); });
  leave_out("made", [&] { job->clear_made(); });
  leave_out("used", [&] { job->clear_used(); });
  leave_out("record", [&] { job->clear_record(); });
}

}  // namespace

grpc::ServerUnaryReactor* JobsService::GetJob(grpc::CallbackServerContext* context,
                                              const v1::GetJobRequest* request,
                                              v1::GetJobResponse* response) {
  return calls_->Unary(context, "GetJob", request, response, calls_->reads(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      TIFFIN_ASSIGN_OR_RETURN(const JobAddress address, FromProto(request->job(), "job"));
      TIFFIN_ASSIGN_OR_RETURN(
          const JobView view,
          history_->Get(caller.name_space, address, request->inputs(), request->outputs()));
      ToProto(view, true, response->mutable_job());
      FitMessage(store_->limits().max_message_bytes - kFrameBytes, response->mutable_job());
      return absl::OkStatus();
    }());
  });
}

grpc::ServerUnaryReactor* JobsService::ListJobs(grpc::CallbackServerContext* context,
                                                const v1::ListJobsRequest* request,
                                                v1::ListJobsResponse* response) {
  return calls_->Unary(context, "ListJobs", request, response, calls_->reads(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      TIFFIN_ASSIGN_OR_RETURN(const JobFilter filter, FromProto(request->filter()));
      const std::string mark = MarkOf(*request);
      TIFFIN_ASSIGN_OR_RETURN(const RowId after, FromToken(request->page_token(), mark));
      if (request->page_size() > 1000) {
        return absl::InvalidArgumentError("page_size: the limit is 1000");
      }
      const size_t size = request->page_size() == 0 ? 100 : request->page_size();
      TIFFIN_ASSIGN_OR_RETURN(const JobPage page, history_->List(caller.name_space, filter, after,
                                                                 request->newest_first(), size));
      size_t bytes = 0;
      RowId next = page.next;
      for (const JobView& view : page.jobs) {
        ToProto(view, false, response->add_jobs());
        bytes += response->jobs().rbegin()->ByteSizeLong();
        if (bytes < kPageBytes || &view == &page.jobs.back()) continue;
        next = view.row.id;  // a short page, and the rest on the next
        break;
      }
      if (next != 0) response->set_next_page_token(TokenOf(next, mark));
      return absl::OkStatus();
    }());
  });
}

grpc::ServerUnaryReactor* JobsService::Invalidate(grpc::CallbackServerContext* context,
                                                  const v1::InvalidateRequest* request,
                                                  v1::InvalidateResponse* response) {
  return calls_->Unary(context, "Invalidate", request, response, calls_->writes(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      TIFFIN_RETURN_IF_ERROR(CheckBatch(request->keys_size(), store_->limits(), "keys"));
      JobHistory::Selection selection;
      for (int i = 0; i < request->keys_size(); ++i) {
        TIFFIN_ASSIGN_OR_RETURN(const Digest key,
                                KeyFromProto(request->keys(i), StrCat("keys[", i, "]")));
        selection.keys.push_back(key);
      }
      TIFFIN_ASSIGN_OR_RETURN(selection.filter, FromProto(request->filter()));
      selection.cascade = request->cascade();
      TIFFIN_ASSIGN_OR_RETURN(
          const JobHistory::Invalidated done,
          history_->Invalidate(caller.name_space, selection, request->dry_run()));
      response->set_invalidated(done.jobs);
      for (const Digest& key : done.keys) response->add_keys(std::string(key.view()));
      return absl::OkStatus();
    }());
  });
}

grpc::ServerUnaryReactor* JobsService::Explain(grpc::CallbackServerContext* context,
                                               const v1::ExplainRequest* request,
                                               v1::ExplainResponse* response) {
  return calls_->Unary(context, "Explain", request, response, calls_->reads(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_ASSIGN_OR_RETURN(const CallerInfo caller, FromProto(request->caller()));
      std::optional<Digest> key;
      std::string_view json;
      if (request->by_case() == v1::ExplainRequest::kKey) {
        TIFFIN_ASSIGN_OR_RETURN(key, KeyFromProto(request->key(), "key"));
      } else {
        TIFFIN_ASSIGN_OR_RETURN(json, JsonOf(request->job(), "job"));
      }
      const size_t wanted =
          request->neighbours() == 0 ? 5 : std::min<size_t>(request->neighbours(), 100);
      TIFFIN_ASSIGN_OR_RETURN(const Explanation why,
                              history_->Explain(caller.name_space, key, json, wanted));
      response->set_key(std::string(why.key.view()));
      response->set_cause(static_cast<v1::MissCause>(static_cast<int>(why.cause) + 1));
      response->set_text(why.text);
      if (why.job) ToProto(*why.job, false, response->mutable_job());
      for (const Neighbour& each : why.neighbours) {
        v1::ExplainResponse::Neighbour* neighbour = response->add_neighbours();
        neighbour->set_key(std::string(each.row.key.view()));
        neighbour->set_version(each.row.version);
        neighbour->set_state(ToProto(each.row.state));
        for (const std::string& path : each.paths) neighbour->add_paths(path);
        neighbour->set_differences(static_cast<uint32_t>(each.paths.size()));
      }
      return absl::OkStatus();
    }());
  });
}

}  // namespace tiffin::server
