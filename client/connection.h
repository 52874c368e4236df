// What the client library needs of a server: one method for each rpc, so that users can put a mock
// in its place. Requests arrive complete, their Caller included.
#ifndef TIFFIN_CLIENT_CONNECTION_H_
#define TIFFIN_CLIENT_CONNECTION_H_

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "tiffin/v1/admin.pb.h"
#include "tiffin/v1/blobs.pb.h"
#include "tiffin/v1/jobs.pb.h"

namespace tiffin {

// Of one message, either way.
inline constexpr int kMaxMessageBytes = 20 << 20;

// An open Await. Read and Write may be called from two threads; destruction cancels it.
class AwaitStream {
 public:
  virtual ~AwaitStream() = default;
  // Adds jobs or capacity. False: the stream has ended, Read tells why.
  virtual bool Write(const v1::AwaitRequest& request) = 0;
  // Says that nothing more will be added.
  virtual void WritesDone() = 0;
  // The next event; OUT_OF_RANGE when all have ended; else why the stream broke.
  virtual absl::StatusOr<v1::AwaitResponse> Read() = 0;
  // Ends a Read (CANCELLED) or Write that waits. From any thread.
  virtual void Cancel() = 0;
};

// Threads: all methods may be called from any thread. No retries here: Client does those.
// A failed call has the server's code and message, and as payloads what the server attached (a
// google.rpc.RetryInfo, or the tiffin.v1.MissingBlobs of a StoreResult).
class Connection {
 public:
  virtual ~Connection() = default;

  virtual absl::StatusOr<v1::SubmitResponse> Submit(const v1::SubmitRequest& request) = 0;
  // As all batches: `requests` are sent in order; each response goes to `on_response`.
  virtual absl::Status SubmitBatch(
      const std::vector<v1::SubmitBatchRequest>& requests,
      const std::function<void(const v1::SubmitBatchResponse&)>& on_response) = 0;
  virtual absl::StatusOr<v1::GetResultResponse> GetResult(const v1::GetResultRequest& request) = 0;
  virtual absl::Status BatchGetResults(
      const std::vector<v1::BatchGetResultsRequest>& requests,
      const std::function<void(const v1::BatchGetResultsResponse&)>& on_response) = 0;
  virtual std::unique_ptr<AwaitStream> Await() = 0;
  virtual absl::StatusOr<v1::RenewResponse> Renew(const v1::RenewRequest& request) = 0;
  // The same, given up after `timeout`: who keeps leases must not wait longer than they last.
  virtual absl::StatusOr<v1::RenewResponse> RenewWithin(absl::Duration timeout,
                                                        const v1::RenewRequest& request) {
    (void)timeout;
    return Renew(request);
  }
  virtual absl::StatusOr<v1::ReleaseResponse> Release(const v1::ReleaseRequest& request) = 0;
  virtual absl::StatusOr<v1::StoreResultResponse> StoreResult(
      const v1::StoreResultRequest& request) = 0;
  virtual absl::StatusOr<v1::LinkResponse> Link(const v1::LinkRequest& request) = 0;
  // Unless overridden UNIMPLEMENTED, so that connections of before go on compiling.
  virtual absl::StatusOr<v1::GetJobResponse> GetJob(const v1::GetJobRequest&) {
    return absl::UnimplementedError("GetJob");
  }
  virtual absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest&) {
    return absl::UnimplementedError("ListJobs");
  }
  virtual absl::StatusOr<v1::InvalidateResponse> Invalidate(const v1::InvalidateRequest&) {
    return absl::UnimplementedError("Invalidate");
  }
  virtual absl::StatusOr<v1::ExplainResponse> Explain(const v1::ExplainRequest&) {
    return absl::UnimplementedError("Explain");
  }
  virtual absl::StatusOr<v1::AliasResponse> Alias(const v1::AliasRequest& request) = 0;

  virtual absl::StatusOr<v1::FindMissingResponse> FindMissing(
      const v1::FindMissingRequest& request) = 0;
  // `next_chunk` is called for the bytes after the header (and its offset), until it returns an
  // empty view. An answer that comes early ends the upload.
  virtual absl::StatusOr<v1::PutResponse> Put(
      const v1::PutRequest::Header& header,
      const std::function<std::string_view()>& next_chunk) = 0;
  // UNIMPLEMENTED, as it is here: nothing of a broken upload is kept, it starts again.
  virtual absl::StatusOr<v1::QueryPutResponse> QueryPut(const v1::QueryPutRequest& request) {
    (void)request;
    return absl::UnimplementedError("QueryPut");
  }
  virtual absl::Status BatchPut(
      const std::vector<v1::BatchPutRequest>& requests,
      const std::function<void(const v1::BatchPutResponse&)>& on_response) = 0;
  // Calls `on_header` once, then `on_chunk`; an error from either cancels the call and is returned.
  virtual absl::Status Deref(
      const v1::DerefRequest& request,
      const std::function<absl::Status(const v1::DerefResponse::Header&)>& on_header,
      const std::function<absl::Status(std::string_view)>& on_chunk) = 0;
  virtual absl::Status BatchDeref(
      const std::vector<v1::BatchDerefRequest>& requests,
      const std::function<void(const v1::BatchDerefResponse&)>& on_response) = 0;
  virtual absl::StatusOr<v1::StatResponse> Stat(const v1::StatRequest& request) = 0;

  virtual absl::StatusOr<v1::DescribeResponse> Describe(const v1::DescribeRequest& request) = 0;
  virtual absl::StatusOr<v1::StatsResponse> Stats(const v1::StatsRequest& request) = 0;
  virtual absl::StatusOr<v1::SealResponse> Seal(const v1::SealRequest& request) = 0;
  // However long it takes.
  virtual absl::StatusOr<v1::CollectResponse> Collect(const v1::CollectRequest&) {
    return absl::UnimplementedError("Collect");
  }
  // Each message goes to `on_progress`; false cancels the call (CANCELLED).
  virtual absl::Status Verify(const v1::VerifyRequest&,
                              const std::function<bool(const v1::VerifyResponse&)>& on_progress) {
    (void)on_progress;
    return absl::UnimplementedError("Verify");
  }
  virtual absl::Status Backup(const v1::BackupRequest&,
                              const std::function<bool(const v1::BackupResponse&)>& on_progress) {
    (void)on_progress;
    return absl::UnimplementedError("Backup");
  }
  virtual absl::Status Catalogue(const v1::CatalogueRequest&,
                                 const std::function<bool(const v1::CatalogueResponse&)>& on_page) {
    (void)on_page;
    return absl::UnimplementedError("Catalogue");
  }
  // The same connection, each of whose calls ends by then, with DEADLINE_EXCEEDED (CheckHealth:
  // UNAVAILABLE). nullptr, as it is here: it has none such.
  virtual std::shared_ptr<Connection> Until(absl::Time deadline) {
    (void)deadline;
    return nullptr;
  }
  // Asks grpc.health.v1. OK: serving. UNAVAILABLE: not reachable, no answer in time, or draining.
  virtual absl::Status CheckHealth(absl::Duration timeout) = 0;
};

struct ConnectionOptions {
  std::string server = "127.0.0.1:7410";
  // Of each call that is no stream.
  absl::Duration call_timeout = absl::Seconds(60);
};

// A connection over gRPC. Connects with the first call, and again when it is broken. While calls
// are open, a server that vanished without a word is noticed within half a minute: they end with
// UNAVAILABLE.
std::shared_ptr<Connection> MakeGrpcConnection(const ConnectionOptions& options);

}  // namespace tiffin

#endif  // TIFFIN_CLIENT_CONNECTION_H_
