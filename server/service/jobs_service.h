// tiffin.v1.Jobs: from the wire to JobStore and back.
#ifndef TIFFIN_SERVER_SERVICE_JOBS_SERVICE_H_
#define TIFFIN_SERVER_SERVICE_JOBS_SERVICE_H_

#include "server/service/bidi_stream.h"
#include "server/service/calls.h"
#include "server/service/grouped_gets.h"
#include "server/service/methods.h"
#include "server/store/job_history.h"
#include "server/store/job_store.h"
#include "tiffin/v1/jobs.grpc.pb.h"

namespace tiffin::server {

// Streams read their messages themselves (bidi_stream.h).
using JobsMethods =
    Methods<v1::Jobs::Service, v1::Jobs::WithCallbackMethod_Submit,
            v1::Jobs::WithRawCallbackMethod_SubmitBatch, v1::Jobs::WithCallbackMethod_GetResult,
            v1::Jobs::WithRawCallbackMethod_BatchGetResults, v1::Jobs::WithRawCallbackMethod_Await,
            v1::Jobs::WithCallbackMethod_Renew, v1::Jobs::WithCallbackMethod_Release,
            v1::Jobs::WithCallbackMethod_StoreResult, v1::Jobs::WithCallbackMethod_Link,
            v1::Jobs::WithCallbackMethod_GetJob, v1::Jobs::WithCallbackMethod_ListJobs,
            v1::Jobs::WithCallbackMethod_Invalidate, v1::Jobs::WithCallbackMethod_Explain,
            v1::Jobs::WithCallbackMethod_Alias>;

class JobsService : public JobsMethods {
 public:
  // All outlive the service.
  JobsService(JobStore* store, JobHistory* history, Calls* calls);

  grpc::ServerUnaryReactor* Submit(grpc::CallbackServerContext* context,
                                   const v1::SubmitRequest* request,
                                   v1::SubmitResponse* response) override;
  RawBidiReactor* SubmitBatch(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* GetResult(grpc::CallbackServerContext* context,
                                      const v1::GetResultRequest* request,
                                      v1::GetResultResponse* response) override;
  RawBidiReactor* BatchGetResults(grpc::CallbackServerContext* context) override;
  RawBidiReactor* Await(grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* Renew(grpc::CallbackServerContext* context,
                                  const v1::RenewRequest* request,
                                  v1::RenewResponse* response) override;
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context,
                                    const v1::ReleaseRequest* request,
                                    v1::ReleaseResponse* response) override;
  grpc::ServerUnaryReactor* StoreResult(grpc::CallbackServerContext* context,
                                        const v1::StoreResultRequest* request,
                                        v1::StoreResultResponse* response) override;
  grpc::ServerUnaryReactor* Link(grpc::CallbackServerContext* context,
                                 const v1::LinkRequest* request,
                                 v1::LinkResponse* response) override;
  grpc::ServerUnaryReactor* GetJob(grpc::CallbackServerContext* context,
                                   const v1::GetJobRequest* request,
                                   v1::GetJobResponse* response) override;
  grpc::ServerUnaryReactor* ListJobs(grpc::CallbackServerContext* context,
                                     const v1::ListJobsRequest* request,
                                     v1::ListJobsResponse* response) override;
  grpc::ServerUnaryReactor* Invalidate(grpc::CallbackServerContext* context,
                                       const v1::InvalidateRequest* request,
                                       v1::InvalidateResponse* response) override;
  grpc::ServerUnaryReactor* Explain(grpc::CallbackServerContext* context,
                                    const v1::ExplainRequest* request,
                                    v1::ExplainResponse* response) override;
  grpc::ServerUnaryReactor* Alias(grpc::CallbackServerContext* context,
                                  const v1::AliasRequest* request,
                                  v1::AliasResponse* response) override;

 private:
  // Where a write may wait for the disk.
  JobStore::Blocking Blocking();
  // Where the answer of a write is finished once it is durable.
  Executor& Answers(v1::Bulk bulk);

  JobStore* const store_;
  JobHistory* const history_;
  Calls* const calls_;
  const std::shared_ptr<GroupedGets> gets_;
};

// Puts the bulk of a result back if the caller asked for that.
absl::Status ApplyBulk(JobStore& store, std::string_view name_space, v1::Bulk bulk,
                       v1::Result* result);
// An answer on the wire, with the bulk as the caller asked for it.
absl::Status Answer(JobStore& store, const CallerInfo& caller, const SubmitAnswer& answer,
                    v1::Bulk bulk, v1::SubmitResponse* response);
absl::StatusOr<SubmitOptions> OptionsFromProto(const v1::SubmitOptions& options,
                                               const Limits& limits);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_SERVICE_JOBS_SERVICE_H_
