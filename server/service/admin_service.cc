#include "server/service/admin_service.h"

#include "common/status.h"
#include "common/utf8.h"
#include "server/service/convert.h"

namespace tiffin::server {

AdminService::AdminService(Parts parts, Calls* calls) : parts_(std::move(parts)), calls_(calls) {
  CountMessages(this, &AdminService::SetMessageAllocatorFor_Describe);
  CountMessages(this, &AdminService::SetMessageAllocatorFor_Stats);
  CountMessages(this, &AdminService::SetMessageAllocatorFor_Seal);
  CountMessages(this, &AdminService::SetMessageAllocatorFor_Collect);
}

grpc::ServerUnaryReactor* AdminService::Describe(grpc::CallbackServerContext* context,
                                                 const v1::DescribeRequest* request,
                                                 v1::DescribeResponse* response) {
  return calls_->Unary(context, "Describe", request, response, calls_->reads(), [=, this] {
    const absl::StatusOr<CallerInfo> caller = FromProto(request->caller());
    if (!caller.ok()) return ToGrpc(caller.status());
    const Limits& limits = parts_.jobs->limits();
    response->set_version(TIFFIN_VERSION);
    response->set_registry(parts_.registry);
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
    response->set_backend(parts_.backend);
    return grpc::Status::OK;
  });
}

grpc::ServerUnaryReactor* AdminService::Stats(grpc::CallbackServerContext* context,
                                              const v1::StatsRequest* request,
                                              v1::StatsResponse* response) {
  return calls_->Unary(context, "Stats", request, response, calls_->reads(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_RETURN_IF_ERROR(FromProto(request->caller()).status());
      TIFFIN_ASSIGN_OR_RETURN(const DatabaseCounts counts, parts_.jobs->Counts());
      TIFFIN_ASSIGN_OR_RETURN(const uint64_t set_aside, parts_.blobs->SetAsideBlobs());
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
      response->set_database_bytes(parts_.database->DiskBytes());
      response->set_open_pack_bytes(parts_.blobs->StoreStats().open_bytes);
      ToProto(absl::Floor(absl::Now() - started_, absl::Seconds(1)), response->mutable_uptime());
      const JobCounters& since = parts_.jobs->counters();
      response->set_submits(since.submits);
      response->set_retrieved(since.retrieved);
      response->set_granted(since.granted);
      response->set_attached(since.attached);
      response->set_stored_results(since.stored);
      response->set_lapsed_leases(since.lapsed);
      response->set_damaged_results(since.damaged);
      response->set_waiting(parts_.jobs->waiting());
      response->set_damaged_blobs(set_aside);
      if (parts_.disk != nullptr) {
        const DiskRoom::State disk = parts_.disk->state();
        response->set_disk_bytes(disk.total_bytes);
        response->set_free_bytes(disk.free_bytes);
        response->set_disk_full(disk.full);
      }
      response->set_damage_found(parts_.blobs->damage_found());
      const VerifyCounters& verified = parts_.verifier->counters();
      response->set_verified_blobs(verified.blobs);
      response->set_verified_bytes(verified.bytes);
      response->set_verify_passes(verified.passes);
      return absl::OkStatus();
    }());
  });
}

grpc::ServerUnaryReactor* AdminService::Seal(grpc::CallbackServerContext* context,
                                             const v1::SealRequest* request,
                                             v1::SealResponse* response) {
  return calls_->Unary(context, "Seal", request, response, calls_->chores(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_RETURN_IF_ERROR(FromProto(request->caller()).status());
      TIFFIN_ASSIGN_OR_RETURN(const SealCounts counts, parts_.blobs->Seal(true));
      response->set_packs(counts.packs);
      response->set_blobs(counts.blobs);
      response->set_damaged(counts.damaged);
      return absl::OkStatus();
    }());
  });
}

grpc::ServerUnaryReactor* AdminService::Collect(grpc::CallbackServerContext* context,
                                                const v1::CollectRequest* request,
                                                v1::CollectResponse* response) {
  return calls_->Unary(context, "Collect", request, response, calls_->chores(), [=, this] {
    return ToGrpc([&]() -> absl::Status {
      TIFFIN_RETURN_IF_ERROR(FromProto(request->caller()).status());
      EvictCounts evicted;
      if (request->has_max_bytes()) {
        TIFFIN_ASSIGN_OR_RETURN(evicted,
                                parts_.evictor->Run(request->max_bytes(), request->dry_run()));
      }
      TIFFIN_ASSIGN_OR_RETURN(const CollectCounts counts,
                              parts_.blobs->Collect(request->dry_run()));
      if (!request->dry_run() || !request->has_max_bytes()) {
        TIFFIN_ASSIGN_OR_RETURN(evicted.kept_bytes, parts_.evictor->KeptBytes());
      }
      response->set_evicted(evicted.results);
      response->set_kept_bytes(evicted.kept_bytes);
      response->set_blobs(counts.blobs + evicted.blobs);
      response->set_blob_bytes(counts.blob_bytes + evicted.blob_bytes);
      const CollectCounts& before = evicted.collected;
      response->set_packs_removed(before.packs_removed + counts.packs_removed);
      response->set_packs_rewritten(before.packs_rewritten + counts.packs_rewritten);
      response->set_freed_bytes(before.freed_bytes + counts.freed_bytes);
      response->set_pinned(counts.pinned);
      return absl::OkStatus();
    }());
  });
}

namespace {

constexpr int kCataloguePage = 1000;
constexpr size_t kCatalogueBytes = 1 << 20;  // of a message; its last entry may go beyond

// One Catalogue: a page a message, or a part of one whose names are long.
class CatalogueReactor : public grpc::ServerWriteReactor<v1::CatalogueResponse> {
 public:
  CatalogueReactor(Calls* calls, BlobCatalogue* blobs, bool allowed,
                   const v1::CatalogueRequest* request)
      : calls_(calls), blobs_(blobs), caller_(request->caller()) {
    if (calls_->draining()) {
      Finish(DrainingStatus());
    } else if (!allowed) {
      Finish(grpc::Status(grpc::StatusCode::PERMISSION_DENIED,
                          "the server does not tell where packs lie (--allow-local)"));
    } else {
      calls_->chores().Add([this] { Begin(); });
    }
  }
  void OnWriteDone(bool ok) override {
    if (!ok || calls_->draining()) return Finish(DrainingStatus());
    calls_->chores().Add([this] { Page(); });
  }
  void OnDone() override { delete this; }

 private:
  void Begin() {
    const absl::StatusOr<CallerInfo> caller = FromProto(caller_);
    absl::Status status = caller.status();
    if (status.ok()) status = blobs_->Seal(true).status();
    if (!status.ok()) return Finish(ToGrpc(status));
    name_space_ = caller->name_space;
    Page();
  }
  void Page() {
    const auto places = blobs_->ListPlaces(name_space_, after_, kCataloguePage);
    if (!places.ok()) return Finish(ToGrpc(places.status()));
    if (places->empty()) return Finish(grpc::Status::OK);
    response_.Clear();
    size_t bytes = 0;
    for (const BlobCatalogue::Placed& placed : *places) {
      after_ = placed.row;
      if (placed.path.empty()) continue;  // damaged, or stored since the call began
      v1::CatalogueResponse::Entry* entry = response_.add_entries();
      ToProto(placed.name, entry->mutable_name());
      entry->set_pack(placed.path);
      entry->set_offset(placed.offset);
      bytes += entry->ByteSizeLong();
      if (bytes >= kCatalogueBytes) break;
    }
    StartWrite(&response_);
  }

  Calls* const calls_;
  BlobCatalogue* const blobs_;
  const v1::Caller caller_;
  std::string name_space_;
  RowId after_ = 0;
  v1::CatalogueResponse response_;
};

}  // namespace

grpc::ServerWriteReactor<v1::CatalogueResponse>* AdminService::Catalogue(
    grpc::CallbackServerContext*, const v1::CatalogueRequest* request) {
  return new CatalogueReactor(calls_, parts_.blobs, parts_.allow_local, request);
}

}  // namespace tiffin::server
