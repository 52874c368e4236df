// tiffin.v1.Admin: for operators.
#ifndef TIFFIN_SERVER_SERVICE_ADMIN_SERVICE_H_
#define TIFFIN_SERVER_SERVICE_ADMIN_SERVICE_H_

#include <mutex>
#include <string>
#include <utility>

#include "server/service/backups.h"
#include "server/service/calls.h"
#include "server/store/blob_catalogue.h"
#include "server/store/evictor.h"
#include "server/store/job_store.h"
#include "server/store/verifier.h"
#include "tiffin/v1/admin.grpc.pb.h"

namespace tiffin::server {

class AdminService : public v1::Admin::CallbackService {
 public:
  // What it speaks for; all outlive the service.
  struct Parts {
    JobStore* jobs = nullptr;
    BlobCatalogue* blobs = nullptr;
    JobDatabase* database = nullptr;
    Verifier* verifier = nullptr;
    Evictor* evictor = nullptr;
    DiskRoom* disk = nullptr;    // may be null
    Backups* backups = nullptr;  // null: there is no folder for them
    std::string backend;         // what rows and bytes are kept in
    std::string registry;        // what the store's Registry is the sum of
    bool allow_local = false;
  };
  AdminService(Parts parts, Calls* calls);

  grpc::ServerUnaryReactor* Describe(grpc::CallbackServerContext* context,
                                     const v1::DescribeRequest* request,
                                     v1::DescribeResponse* response) override;
  grpc::ServerUnaryReactor* Stats(grpc::CallbackServerContext* context,
                                  const v1::StatsRequest* request,
                                  v1::StatsResponse* response) override;
  grpc::ServerUnaryReactor* Collect(grpc::CallbackServerContext* context,
                                    const v1::CollectRequest* request,
                                    v1::CollectResponse* response) override;
  grpc::ServerWriteReactor<v1::CatalogueResponse>* Catalogue(
      grpc::CallbackServerContext* context, const v1::CatalogueRequest* request) override;
  grpc::ServerUnaryReactor* Seal(grpc::CallbackServerContext* context,
                                 const v1::SealRequest* request,
                                 v1::SealResponse* response) override;

  grpc::ServerWriteReactor<v1::VerifyResponse>* Verify(grpc::CallbackServerContext* context,
                                                       const v1::VerifyRequest* request) override;
  grpc::ServerWriteReactor<v1::BackupResponse>* Backup(grpc::CallbackServerContext* context,
                                                       const v1::BackupRequest* request) override;

 private:
  const Parts parts_;
  Calls* const calls_;
  const absl::Time started_ = absl::Now();
  std::mutex verify_mutex_;  // one Verify at a time
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_ADMIN_SERVICE_H_
