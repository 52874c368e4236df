// tiffin.v1.Admin: for operators.
#ifndef TIFFIN_SERVER_SERVICE_ADMIN_SERVICE_H_
#define TIFFIN_SERVER_SERVICE_ADMIN_SERVICE_H_

#include "server/service/calls.h"
#include "server/store/blob_catalogue.h"
#include "server/store/job_store.h"
#include "tiffin/v1/admin.grpc.pb.h"

namespace tiffin::server {

class AdminService : public v1::Admin::CallbackService {
 public:
  // All outlive the service. `backend` says what rows and bytes are kept in, `registry` what the
  // store's Registry is the sum of.
  AdminService(JobStore* jobs, BlobCatalogue* blobs, JobDatabase* database, std::string backend,
               std::string registry, bool allow_local, Calls* calls)
      : jobs_(jobs), blobs_(blobs), database_(database), backend_(std::move(backend)),
        registry_(std::move(registry)), allow_local_(allow_local), calls_(calls) {}

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

 private:
  JobStore* const jobs_;
  BlobCatalogue* const blobs_;
  JobDatabase* const database_;
  const std::string backend_;
  const std::string registry_;
  const bool allow_local_;
  Calls* const calls_;
  const absl::Time started_ = absl::Now();
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_ADMIN_SERVICE_H_
