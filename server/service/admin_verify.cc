// Admin.Verify: a pass of the verifier, told as it goes on.
#include <memory>
#include <mutex>

#include "common/status.h"
#include "common/utf8.h"
#include "server/service/admin_service.h"
#include "server/service/chore_stream.h"
#include "server/service/convert.h"

namespace tiffin::server {
namespace {

v1::VerifyResponse ToResponse(const VerifyProgress& progress) {
  v1::VerifyResponse response;
  response.set_blobs(progress.blobs);
  response.set_bytes(progress.bytes);
  response.set_total_blobs(progress.total_blobs);
  response.set_total_bytes(progress.total_bytes);
  response.set_damaged_blobs(progress.damaged);
  for (const DamageFound& found : progress.found) {
    v1::VerifyResponse::Damage* damage = response.add_damaged();
    ToProto(found.name, damage->mutable_name());
    damage->set_pack(found.file);
    damage->set_offset(found.offset);
    damage->set_what(found.what);
    for (const Digest& job : found.jobs) damage->add_jobs(std::string(job.view()));
  }
  response.set_results(progress.results);
  response.set_total_damaged_results(progress.damaged_results);
  for (const Digest& job : progress.found_results) {
    response.add_damaged_results(std::string(job.view()));
  }
  response.set_jobs(progress.jobs);
  response.set_total_damaged_jobs(progress.damaged_jobs);
  for (const DamagedJob& found : progress.found_jobs) {
    v1::VerifyResponse::DamagedJob* job = response.add_damaged_jobs();
    job->set_row(static_cast<uint64_t>(found.row));
    job->set_key(std::string(found.key.view()));
  }
  response.set_rows(progress.rows);
  response.set_total_damaged_rows(progress.damaged_rows);
  for (const DamagedRow& found : progress.found_rows) {
    v1::VerifyResponse::DamagedRow* row = response.add_damaged_rows();
    row->set_table(found.table);
    row->set_row(ToValidUtf8(found.what));
  }
  return response;
}

}  // namespace

grpc::ServerWriteReactor<v1::VerifyResponse>* AdminService::Verify(
    grpc::CallbackServerContext*, const v1::VerifyRequest* request) {
  const absl::Status caller = FromProto(request->caller()).status();
  const Verifier::Options options{request->keys(), request->bytes_per_second()};
  return ChoreStream<v1::VerifyResponse>::Start(
      calls_, "Verify", request->caller(), [=, this](const auto& send) -> absl::Status {
        TIFFIN_RETURN_IF_ERROR(caller);
        const std::unique_lock one(verify_mutex_, std::try_to_lock);
        if (!one) return absl::AbortedError("another Verify is running");
        return parts_.verifier->Run(options, [&](const VerifyProgress& progress) {
          const bool found = !progress.found.empty() || !progress.found_results.empty() ||
                             !progress.found_jobs.empty() || !progress.found_rows.empty();
          return send(ToResponse(progress), /*skippable=*/!found);
        });
      });
}

}  // namespace tiffin::server
