#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <utility>

#include "client/connection.h"
#include "client/foreign.pb.h"
#include "client/grpc_status.h"
#include "common/strings.h"
#include "tiffin/v1/admin.grpc.pb.h"
#include "tiffin/v1/blobs.grpc.pb.h"
#include "tiffin/v1/jobs.grpc.pb.h"

namespace tiffin {
namespace {

constexpr int kStreamAheadBytes = 2 << 20;

// Of a call that was not cancelled here: a server that stops cancels what comes at the last moment,
// which is no more than UNAVAILABLE.
absl::Status FromServer(const grpc::Status& status) {
  if (status.error_code() == grpc::StatusCode::CANCELLED) {
    return absl::UnavailableError("the server cancelled the call: it is stopping");
  }
  return FromGrpc(status);
}

void SetDeadline(absl::Time deadline, grpc::ClientContext* context) {
  if (deadline == absl::InfiniteFuture()) return;
  // gRPC takes times before 1970 for none.
  context->set_deadline(absl::ToChronoTime(std::max(deadline, absl::UnixEpoch())));
}

class GrpcAwaitStream : public AwaitStream {
 public:
  GrpcAwaitStream(v1::Jobs::Stub* stub, absl::Time deadline) {
    SetDeadline(deadline, &context_);
    stream_ = stub->Await(&context_);
  }
  ~GrpcAwaitStream() override {
    context_.TryCancel();
    if (!finished_) (void)stream_->Finish();
  }
  bool Write(const v1::AwaitRequest& request) override { return stream_->Write(request); }
  void WritesDone() override { stream_->WritesDone(); }
  absl::StatusOr<v1::AwaitResponse> Read() override {
    v1::AwaitResponse response;
    if (!finished_ && stream_->Read(&response)) return response;
    if (!finished_) {
      finished_ = true;
      const grpc::Status status = stream_->Finish();
      end_ = cancelled_ ? FromGrpc(status) : FromServer(status);
    }
    if (end_.ok()) return absl::OutOfRangeError("all jobs have ended");
    return end_;
  }
  void Cancel() override {
    cancelled_ = true;
    context_.TryCancel();
  }

 private:
  std::atomic<bool> cancelled_{false};
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::AwaitRequest, v1::AwaitResponse>> stream_;
  bool finished_ = false;
  absl::Status end_;
};

class GrpcConnection : public Connection {
 public:
  explicit GrpcConnection(const ConnectionOptions& options) : options_(options) {
    grpc::ChannelArguments arguments;
    // Client repeats what may be repeated; gRPC's own retries would hold each stream's buffers
    // back.
    arguments.SetInt("grpc.enable_retries", 0);
    arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
    arguments.SetMaxSendMessageSize(kMaxMessageBytes);
    // Notices, while calls are open, a server that vanished without closing the connection. Servers
    // of tiffin permit pings this often.
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
    arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
    arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);  // no limit: an Await may be silent
    // What a stream may send ahead: a chunk of 1 MiB should not wait for leave to be sent on.
    arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kStreamAheadBytes);
    // How long connecting may take (its name tells otherwise): far or busy servers need more than a
    // moment. The next two are the pauses between attempts.
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5'000);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
    channel_ =
        grpc::CreateCustomChannel(options.server, grpc::InsecureChannelCredentials(), arguments);
    jobs_ = v1::Jobs::NewStub(channel_);
    blobs_ = v1::Blobs::NewStub(channel_);
    admin_ = v1::Admin::NewStub(channel_);
  }

  absl::StatusOr<v1::SubmitResponse> Submit(const v1::SubmitRequest& request) override {
    return Unary<v1::SubmitResponse>(*jobs_, &v1::Jobs::Stub::Submit, request);
  }
  absl::StatusOr<v1::GetResultResponse> GetResult(const v1::GetResultRequest& request) override {
    return Unary<v1::GetResultResponse>(*jobs_, &v1::Jobs::Stub::GetResult, request);
  }
  absl::Status BatchGetResults(
      const std::vector<v1::BatchGetResultsRequest>& requests,
      const std::function<void(const v1::BatchGetResultsResponse&)>& on_response) override {
    return Batch(*jobs_, &v1::Jobs::Stub::BatchGetResults, requests, on_response);
  }
  absl::StatusOr<v1::RenewResponse> Renew(const v1::RenewRequest& request) override {
    return Unary<v1::RenewResponse>(*jobs_, &v1::Jobs::Stub::Renew, request);
  }
  absl::StatusOr<v1::RenewResponse> RenewWithin(absl::Duration timeout,
                                                const v1::RenewRequest& request) override {
    return Unary<v1::RenewResponse>(*jobs_, &v1::Jobs::Stub::Renew, request, timeout);
  }
  absl::StatusOr<v1::ReleaseResponse> Release(const v1::ReleaseRequest& request) override {
    return Unary<v1::ReleaseResponse>(*jobs_, &v1::Jobs::Stub::Release, request);
  }
  absl::StatusOr<v1::StoreResultResponse> StoreResult(
      const v1::StoreResultRequest& request) override {
    return Unary<v1::StoreResultResponse>(*jobs_, &v1::Jobs::Stub::StoreResult, request);
  }
  absl::StatusOr<v1::LinkResponse> Link(const v1::LinkRequest& request) override {
    return Unary<v1::LinkResponse>(*jobs_, &v1::Jobs::Stub::Link, request);
  }
  absl::StatusOr<v1::GetJobResponse> GetJob(const v1::GetJobRequest& request) override {
    return Unary<v1::GetJobResponse>(*jobs_, &v1::Jobs::Stub::GetJob, request);
  }
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest& request) override {
    return Unary<v1::ListJobsResponse>(*jobs_, &v1::Jobs::Stub::ListJobs, request);
  }
  absl::StatusOr<v1::InvalidateResponse> Invalidate(const v1::InvalidateRequest& request) override {
    return Unary<v1::InvalidateResponse>(*jobs_, &v1::Jobs::Stub::Invalidate, request);
  }
  absl::StatusOr<v1::ExplainResponse> Explain(const v1::ExplainRequest& request) override {
    return Unary<v1::ExplainResponse>(*jobs_, &v1::Jobs::Stub::Explain, request);
  }
  absl::StatusOr<v1::AliasResponse> Alias(const v1::AliasRequest& request) override {
    return Unary<v1::AliasResponse>(*jobs_, &v1::Jobs::Stub::Alias, request);
  }
  absl::StatusOr<v1::FindMissingResponse> FindMissing(
      const v1::FindMissingRequest& request) override {
    return Unary<v1::FindMissingResponse>(*blobs_, &v1::Blobs::Stub::FindMissing, request);
  }
  absl::StatusOr<v1::QueryPutResponse> QueryPut(const v1::QueryPutRequest& request) override {
    return Unary<v1::QueryPutResponse>(*blobs_, &v1::Blobs::Stub::QueryPut, request);
  }
  absl::Status BatchPut(
      const std::vector<v1::BatchPutRequest>& requests,
      const std::function<void(const v1::BatchPutResponse&)>& on_response) override {
    return Batch(*blobs_, &v1::Blobs::Stub::BatchPut, requests, on_response);
  }
  absl::Status BatchDeref(
      const std::vector<v1::BatchDerefRequest>& requests,
      const std::function<void(const v1::BatchDerefResponse&)>& on_response) override {
    return Batch(*blobs_, &v1::Blobs::Stub::BatchDeref, requests, on_response);
  }
  absl::StatusOr<v1::StatResponse> Stat(const v1::StatRequest& request) override {
    return Unary<v1::StatResponse>(*blobs_, &v1::Blobs::Stub::Stat, request);
  }
  absl::StatusOr<v1::DescribeResponse> Describe(const v1::DescribeRequest& request) override {
    return Unary<v1::DescribeResponse>(*admin_, &v1::Admin::Stub::Describe, request);
  }
  absl::StatusOr<v1::StatsResponse> Stats(const v1::StatsRequest& request) override {
    return Unary<v1::StatsResponse>(*admin_, &v1::Admin::Stub::Stats, request);
  }
  absl::StatusOr<v1::SealResponse> Seal(const v1::SealRequest& request) override {
    return Unary<v1::SealResponse>(*admin_, &v1::Admin::Stub::Seal, request);
  }

  absl::Status SubmitBatch(
      const std::vector<v1::SubmitBatchRequest>& requests,
      const std::function<void(const v1::SubmitBatchResponse&)>& on_response) override {
    return Batch(*jobs_, &v1::Jobs::Stub::SubmitBatch, requests, on_response);
  }

  std::unique_ptr<AwaitStream> Await() override {
    return std::make_unique<GrpcAwaitStream>(jobs_.get(), deadline_);
  }

  absl::StatusOr<v1::PutResponse> Put(
      const v1::PutRequest::Header& header,
      const std::function<std::string_view()>& next_chunk) override {
    grpc::ClientContext context;
    SetDeadline(deadline_, &context);
    v1::PutResponse response;
    auto stream = blobs_->Put(&context, &response);
    v1::PutRequest request;
    *request.mutable_header() = header;
    bool open = stream->Write(request);
    while (open) {
      const std::string_view chunk = next_chunk();
      if (chunk.empty()) break;
      request.set_chunk(chunk.data(), chunk.size());
      open = stream->Write(request);  // false: answered early, or broken
    }
    if (open) stream->WritesDone();
    const grpc::Status status = stream->Finish();
    if (!status.ok()) return FromServer(status);
    return response;
  }

  absl::Status Deref(const v1::DerefRequest& asked,
                     const std::function<absl::Status(const v1::DerefResponse::Header&)>& on_header,
                     const std::function<absl::Status(std::string_view)>& on_chunk) override {
    v1::DerefRequest request = asked;
    request.set_first_with_header(true);
    grpc::ClientContext context;
    SetDeadline(deadline_, &context);
    auto stream = blobs_->Deref(&context, request);
    v1::DerefResponse response;
    absl::Status stopped;
    while (stopped.ok() && stream->Read(&response)) {
      if (response.has_header()) {
        const std::string first = std::move(*response.mutable_header()->mutable_first());
        response.mutable_header()->clear_first();
        stopped = on_header(response.header());
        if (stopped.ok() && !first.empty()) stopped = on_chunk(first);
      } else {
        stopped = on_chunk(response.chunk());
      }
    }
    if (!stopped.ok()) context.TryCancel();
    const grpc::Status status = stream->Finish();
    return stopped.ok() ? FromServer(status) : stopped;
  }

  absl::StatusOr<v1::CollectResponse> Collect(const v1::CollectRequest& request) override {
    grpc::ClientContext context;
    SetDeadline(deadline_, &context);  // its only one
    v1::CollectResponse response;
    const grpc::Status status = admin_->Collect(&context, request, &response);
    if (!status.ok()) return FromServer(status);
    return response;
  }
  absl::Status Backup(const v1::BackupRequest& request,
                      const std::function<bool(const v1::BackupResponse&)>& on_progress) override {
    return ServerStream<v1::BackupResponse>(*admin_, &v1::Admin::Stub::Backup, request,
                                            on_progress);
  }
  absl::Status Catalogue(
      const v1::CatalogueRequest& request,
      const std::function<bool(const v1::CatalogueResponse&)>& on_page) override {
    return ServerStream<v1::CatalogueResponse>(*admin_, &v1::Admin::Stub::Catalogue, request,
                                               on_page);
  }
  absl::Status Verify(const v1::VerifyRequest& request,
                      const std::function<bool(const v1::VerifyResponse&)>& on_progress) override {
    return ServerStream<v1::VerifyResponse>(*admin_, &v1::Admin::Stub::Verify, request,
                                            on_progress);
  }

  std::shared_ptr<Connection> Until(absl::Time deadline) override {
    auto copy = std::make_shared<GrpcConnection>(*this);
    copy->deadline_ = std::min(deadline_, deadline);
    return copy;
  }
  absl::Status CheckHealth(absl::Duration timeout) override {
    // gRPC has the service, but no stub of it is installed.
    grpc::TemplatedGenericStub<foreign::HealthCheckRequest, foreign::HealthCheckResponse> health(
        channel_);
    grpc::ClientContext context;
    SetTimeout(timeout, &context);
    grpc::CompletionQueue queue;
    foreign::HealthCheckResponse response;
    grpc::Status status;
    const auto call = health.PrepareUnaryCall(&context, "/grpc.health.v1.Health/Check", {}, &queue);
    call->StartCall();
    call->Finish(&response, &status, nullptr);
    void* tag;
    bool ok;
    queue.Next(&tag, &ok);
    if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
      return absl::UnavailableError(StrCat("no answer from ", options_.server));
    }
    if (status.ok() && response.status() != foreign::HealthCheckResponse::SERVING) {
      return absl::UnavailableError(
          StrCat("the server answers ",
                 foreign::HealthCheckResponse::ServingStatus_Name(response.status())));
    }
    return FromServer(status);
  }

 private:
  void SetTimeout(absl::Duration timeout, grpc::ClientContext* context) const {
    SetDeadline(std::min(deadline_, absl::Now() + timeout), context);
  }

  template <typename Response, typename Stub, typename Request>
  absl::StatusOr<Response> Unary(
      Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
      const Request& request, absl::Duration timeout = absl::InfiniteDuration()) {
    grpc::ClientContext context;
    SetTimeout(std::min(timeout, options_.call_timeout), &context);
    Response response;
    const grpc::Status status = (stub.*method)(&context, request, &response);
    if (!status.ok()) return FromServer(status);
    return response;
  }

  template <typename Stub, typename Request, typename Response>
  absl::Status Batch(Stub& stub,
                     std::unique_ptr<grpc::ClientReaderWriter<Request, Response>> (Stub::*method)(
                         grpc::ClientContext*),
                     const std::vector<Request>& requests,
                     const std::function<void(const Response&)>& on_response) const {
    grpc::ClientContext context;
    SetDeadline(deadline_, &context);
    const auto stream = (stub.*method)(&context);
    const auto write = [&] {
      for (size_t i = 0; i < requests.size(); ++i) {
        grpc::WriteOptions options;
        if (i + 1 == requests.size()) options.set_last_message();
        if (!stream->Write(requests[i], options)) return;  // Finish tells why
      }
      if (requests.empty()) stream->WritesDone();
    };
    // Answers are read meanwhile: both sides would stop when the windows are full. One message is
    // taken whatever becomes of its answers.
    std::thread writer;
    if (requests.size() > 1) {
      writer = std::thread(write);
    } else {
      write();
    }
    Response response;
    while (stream->Read(&response)) on_response(response);
    if (writer.joinable()) writer.join();
    return FromServer(stream->Finish());
  }

  // Without a timeout: it takes as long as there is much to do.
  template <typename Response, typename Stub, typename Request>
  absl::Status ServerStream(Stub& stub,
                            std::unique_ptr<grpc::ClientReader<Response>> (Stub::*method)(
                                grpc::ClientContext*, const Request&),
                            const Request& request,
                            const std::function<bool(const Response&)>& on_message) const {
    grpc::ClientContext context;
    SetDeadline(deadline_, &context);
    auto stream = (stub.*method)(&context, request);
    Response response;
    bool go_on = true;
    while (go_on && stream->Read(&response)) go_on = on_message(response);
    if (!go_on) context.TryCancel();
    const grpc::Status status = stream->Finish();
    return go_on ? FromServer(status) : FromGrpc(status);
  }

  const ConnectionOptions options_;
  absl::Time deadline_ = absl::InfiniteFuture();
  std::shared_ptr<grpc::Channel> channel_;
  std::shared_ptr<v1::Jobs::Stub> jobs_;
  std::shared_ptr<v1::Blobs::Stub> blobs_;
  std::shared_ptr<v1::Admin::Stub> admin_;
};

}  // namespace

std::shared_ptr<Connection> MakeGrpcConnection(const ConnectionOptions& options) {
  return std::make_shared<GrpcConnection>(options);
}

}  // namespace tiffin
