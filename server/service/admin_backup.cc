// Admin.Backup: a copy of the data folder, told as it goes on.
#include "absl/time/clock.h"
#include "common/status.h"
#include "server/service/admin_service.h"
#include "server/service/chore_stream.h"

namespace tiffin::server {
namespace {
constexpr absl::Duration kTellEvery = absl::Milliseconds(200);
}  // namespace

grpc::ServerWriteReactor<v1::BackupResponse>* AdminService::Backup(
    grpc::CallbackServerContext*, const v1::BackupRequest* request) {
  const absl::Status caller = FromProto(request->caller()).status();
  return ChoreStream<v1::BackupResponse>::Start(
      calls_, "Backup", request->caller(),
      [=, this, name = request->name()](const auto& send) -> absl::Status {
        TIFFIN_RETURN_IF_ERROR(caller);
        if (parts_.backups == nullptr) {
          return absl::FailedPreconditionError(
              "the server was started without a folder for copies (--backups)");
        }
        v1::BackupResponse response;
        absl::Time told = absl::InfinitePast();
        TIFFIN_ASSIGN_OR_RETURN(const std::string path,
                                parts_.backups->Make(name, [&](uint64_t bytes, uint64_t total) {
                                  response.set_bytes(bytes);
                                  response.set_total_bytes(total);
                                  if (absl::Now() - told < kTellEvery) return true;
                                  told = absl::Now();
                                  // Nobody who does not listen may hold up the copy, and with it
                                  // sealing.
                                  return send(response, /*skippable=*/true);
                                }));
        response.set_path(path);
        (void)send(response, /*skippable=*/false);
        return absl::OkStatus();
      });
}

}  // namespace tiffin::server
