#include "server/service/admin_service.h"

#include "common/status.h"
#include "common/utf8.h"
#include "server/service/convert.h"

namespace tiffin::server {

grpc::ServerUnaryReactor* AdminService::Describe(grpc::CallbackServerContext* context,
                                                 const v1::DescribeRequest* request,
                                                 v1::DescribeResponse* response) {
  return calls_->Unary(context, "Describe", request, calls_->reads(), [=, this] {
    const absl::StatusOr<CallerInfo> caller = FromProto(request->caller());
    if (!caller.ok()) return ToGrpc(caller.status());
    const Limits& limits = jobs_->limits();
    response->set_version(TIFFIN_VERSION);
    response->set_registry(registry_);
    if (limits.registry != nullptr) {
      for (const Registry::Entry& entry : limits.registry->Describe()) {
        v1::DescribeResponse::Serialiser* serialiser = response->add_serialisers();
        serialiser->set_record_type(ToValidUtf8(entry.record_type));
        serialiser->set_class_name(ToValidUtf8(entry.class_name));
        serialiser->set_keeps(ToValidUtf8(entry.keeps));
      }
    }
    response->set_inline_limit(limits.inline_limit);
    response->set_max_record_bytes(limits.json.max_text_bytes);
    response->set_max_nesting(limits.json.max_nesting);
    response->set_max_entries(limits.json.max_entries);
    response->set_max_message_bytes(limits.max_message_bytes);
    ToProto(limits.default_term, response->mutable_default_term());
    ToProto(limits.min_term, response->mutable_min_term());
    ToProto(limits.max_term, response->mutable_max_term());
    response->set_max_lost(limits.max_lost);
    response->set_job_key_scheme("tiffin.job/1");
    response->set_backend(backend_);
    return grpc::Status::OK;
  });
}

grpc::ServerUnaryReactor* AdminService::Stats(grpc::CallbackServerContext* context,
                                              const v1::StatsRequest* request,
                                              v1::StatsResponse* response) {
  return calls_->Unary(context, "Stats", request, calls_->reads(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_RETURN_IF_ERROR(FromProto(request->caller()).status());
      TIFFIN_ASSIGN_OR_RETURN(const DatabaseCounts counts, jobs_->Counts());
      response->set_namespaces(counts.namespaces);
      response->set_jobs(counts.jobs);
      response->set_done(counts.done);
      response->set_failed(counts.failed);
      response->set_leases(counts.leases);
      response->set_aliases(counts.aliases);
      response->set_sessions(counts.sessions);
      response->set_blobs(counts.blobs);
      response->set_blob_bytes(counts.blob_bytes);
      response->set_nondeterministic(counts.evidence);
      response->set_database_bytes(database_->DiskBytes());
      response->set_open_pack_bytes(blobs_->StoreStats().open_bytes);
      ToProto(absl::Now() - started_, response->mutable_uptime());
      const JobCounters& since = jobs_->counters();
      response->set_submits(since.submits);
      response->set_retrieved(since.retrieved);
      response->set_granted(since.granted);
      response->set_attached(since.attached);
      response->set_stored_results(since.stored);
      response->set_lapsed_leases(since.lapsed);
      response->set_waiting(jobs_->waiting());
      return absl::OkStatus();
    }());
  });
}

grpc::ServerUnaryReactor* AdminService::Seal(grpc::CallbackServerContext* context,
                                             const v1::SealRequest* request,
                                             v1::SealResponse* response) {
  return calls_->Unary(context, "Seal", request, calls_->streams(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_RETURN_IF_ERROR(FromProto(request->caller()).status());
      TIFFIN_ASSIGN_OR_RETURN(const SealCounts counts, blobs_->Seal(true));
      response->set_packs(counts.packs);
      response->set_blobs(counts.blobs);
      response->set_damaged(counts.damaged);
      return absl::OkStatus();
    }());
  });
}

}  // namespace tiffin::server
