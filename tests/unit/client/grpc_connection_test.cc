// The connection over gRPC, against a server of gRPC's in this process.
#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <thread>

#include "client/connection.h"
#include "client/foreign.pb.h"
#include "client/grpc_status.h"
#include "client/repeat.h"
#include "tiffin/v1/blobs.grpc.pb.h"
#include "tiffin/v1/jobs.grpc.pb.h"

namespace tiffin {
namespace {

class Jobs : public v1::Jobs::Service {
 public:
  grpc::Status Submit(grpc::ServerContext*, const v1::SubmitRequest*,
                      v1::SubmitResponse*) override {
    foreign::RetryInfo info;
    info.mutable_retry_delay()->set_seconds(7);
    foreign::RpcStatus details;
    details.add_details()->set_type_url(kRetryInfoType);
    details.mutable_details(0)->set_value(info.SerializeAsString());
    return {grpc::StatusCode::RESOURCE_EXHAUSTED, "full", details.SerializeAsString()};
  }
  // Answers only when the client has given up.
  grpc::Status Renew(grpc::ServerContext* context, const v1::RenewRequest*,
                     v1::RenewResponse*) override {
    while (!context->IsCancelled()) std::this_thread::yield();
    return grpc::Status::CANCELLED;
  }
  // Answers each message with how many items it has.
  grpc::Status Await(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::AwaitResponse, v1::AwaitRequest>* stream) override {
    v1::AwaitRequest request;
    while (stream->Read(&request)) {
      v1::AwaitResponse response;
      response.set_index(request.items_size());
      stream->Write(response);
    }
    return grpc::Status::OK;
  }
};

class Blobs : public v1::Blobs::Service {
 public:
  grpc::Status Put(grpc::ServerContext*, grpc::ServerReader<v1::PutRequest>* stream,
                   v1::PutResponse* response) override {
    v1::PutRequest request;
    if (!stream->Read(&request)) return {grpc::StatusCode::INVALID_ARGUMENT, "no header"};
    response->set_existed(request.header().name().dtype() == "known");
    while (!response->existed() && stream->Read(&request)) {
      response->set_size(response->size() + request.chunk().size());
    }
    return grpc::Status::OK;
  }
  grpc::Status Deref(grpc::ServerContext* context, const v1::DerefRequest*,
                     grpc::ServerWriter<v1::DerefResponse>* stream) override {
    v1::DerefResponse response;
    response.mutable_header()->set_size(1 << 20);
    stream->Write(response);
    response.set_chunk(std::string(1 << 10, 'x'));
    while (!context->IsCancelled()) stream->Write(response);  // until the client has enough
    return grpc::Status::CANCELLED;
  }
};

class GrpcConnectionTest : public testing::Test {
 protected:
  GrpcConnectionTest() {
    grpc::EnableDefaultHealthCheckService(true);
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&jobs_);
    builder.RegisterService(&blobs_);
    server_ = builder.BuildAndStart();
    connection_ = MakeGrpcConnection({.server = "127.0.0.1:" + std::to_string(port)});
  }

  Jobs jobs_;
  Blobs blobs_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<Connection> connection_;
};

TEST_F(GrpcConnectionTest, HealthIsThatOfTheHealthService) {
  constexpr absl::Duration kTimeout = absl::Seconds(60);
  EXPECT_EQ(connection_->CheckHealth(kTimeout), absl::OkStatus());
  server_->GetHealthCheckService()->SetServingStatus(false);
  const absl::Status draining = connection_->CheckHealth(kTimeout);
  EXPECT_EQ(draining.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(draining.message(), "the server answers NOT_SERVING");
  server_->GetHealthCheckService()->SetServingStatus(true);
  EXPECT_EQ(connection_->CheckHealth(kTimeout), absl::OkStatus());
}

TEST_F(GrpcConnectionTest, AServerThatIsGoneIsUnavailable) {
  server_->Shutdown();
  server_.reset();
  EXPECT_EQ(connection_->CheckHealth(absl::Seconds(60)).code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(connection_->Submit({}).status().code(), absl::StatusCode::kUnavailable);
}

TEST_F(GrpcConnectionTest, NoAnswerInTimeIsUnavailableHealth) {
  // Somebody who lets clients connect, and says nothing.
  const int listening = ::socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  auto* const any = reinterpret_cast<sockaddr*>(&address);
  ASSERT_EQ(::bind(listening, any, size), 0);
  ASSERT_EQ(::listen(listening, 8), 0);
  ASSERT_EQ(::getsockname(listening, any, &size), 0);
  const auto silent =
      MakeGrpcConnection({.server = "127.0.0.1:" + std::to_string(ntohs(address.sin_port))});
  EXPECT_EQ(silent->CheckHealth(absl::Milliseconds(50)).code(), absl::StatusCode::kUnavailable);
  ::close(listening);
}

// Takes every call and says nothing until it is cancelled.
class Silent : public grpc::CallbackGenericService {
  class Call : public grpc::ServerGenericBidiReactor {
   public:
    void OnCancel() override { Finish(grpc::Status::CANCELLED); }
    void OnDone() override { delete this; }
  };
  grpc::ServerGenericBidiReactor* CreateReactor(grpc::GenericCallbackServerContext*) override {
    return new Call;
  }
};

TEST(GrpcConnectionUntil, EachCallEndsByThen) {
  Silent silent;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterCallbackGenericService(&silent);
  const auto server = builder.BuildAndStart();
  const auto connection = MakeGrpcConnection({.server = "127.0.0.1:" + std::to_string(port)});
  const auto until = [&] { return connection->Until(absl::Now() + absl::Milliseconds(20)); };
  const std::string chunk(1 << 20, 'x');
  const absl::Status ends[] = {
      until()->Submit({}).status(),
      until()->SubmitBatch({{}, {}}, [](const auto&) {}),
      until()->Await()->Read().status(),
      until()->Put({}, [&] { return std::string_view(chunk); }).status(),
      until()->Deref(
          {}, [](const auto&) { return absl::OkStatus(); }, [](auto) { return absl::OkStatus(); }),
      until()->BatchPut({{}}, [](const auto&) {}),
      until()->Collect({}).status(),
      until()->Verify({}, [](const auto&) { return true; }),
      until()->Until(absl::InfiniteFuture())->Stat({}).status(),  // the earlier one counts
      connection->Until(absl::InfinitePast())->Submit({}).status(),
  };
  for (const absl::Status& end : ends)
    EXPECT_EQ(end.code(), absl::StatusCode::kDeadlineExceeded) << end;
}

TEST_F(GrpcConnectionTest, ADelayThatTheServerAsksForArrives) {
  const absl::Status status = connection_->Submit({}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RetryDelay(status), absl::Seconds(7));
}

TEST(FromGrpcTest, AStreamThatWasResetForWantOfMemoryMayBeTriedAgain) {
  const auto exhausted = grpc::StatusCode::RESOURCE_EXHAUSTED;
  EXPECT_EQ(RetryDelay(FromGrpc({exhausted, "Received RST_STREAM with error code 11"})),
            absl::ZeroDuration());
  EXPECT_EQ(RetryDelay(FromGrpc({exhausted, "Received RST_STREAM with error code 1"})),
            std::nullopt);
  EXPECT_EQ(RetryDelay(FromGrpc({exhausted, "Received message larger than max"})), std::nullopt);
}

TEST_F(GrpcConnectionTest, RenewWithinIsGivenUp) {
  EXPECT_EQ(connection_->RenewWithin(absl::Milliseconds(10), {}).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(GrpcConnectionTest, AwaitTalksBothWaysAndEnds) {
  const std::unique_ptr<AwaitStream> stream = connection_->Await();
  v1::AwaitRequest request;
  for (uint64_t i = 1; i <= 2; ++i) {
    request.add_items();
    ASSERT_TRUE(stream->Write(request));
    const auto response = stream->Read();
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_EQ(response->index(), i);
  }
  stream->WritesDone();
  EXPECT_EQ(stream->Read().status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(stream->Read().status().code(), absl::StatusCode::kOutOfRange);
}

TEST_F(GrpcConnectionTest, CancelEndsAnAwaitThatWaits) {
  const std::unique_ptr<AwaitStream> stream = connection_->Await();
  stream->Cancel();
  EXPECT_EQ(stream->Read().status().code(), absl::StatusCode::kCancelled);
}

TEST_F(GrpcConnectionTest, AnAwaitThatIsDroppedEnds) {
  const std::unique_ptr<AwaitStream> stream = connection_->Await();
  ASSERT_TRUE(stream->Write({}));
}

TEST_F(GrpcConnectionTest, PutSendsAllChunks) {
  int left = 3;
  const auto response =
      connection_->Put({}, [&] { return std::string_view(left-- > 0 ? "chunk" : ""); });
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->size(), 15);
}

TEST_F(GrpcConnectionTest, PutStopsAtAnEarlyAnswer) {
  v1::PutRequest::Header header;
  header.mutable_name()->set_dtype("known");
  // Without the early answer this would go on for ever.
  const auto response = connection_->Put(header, [] { return std::string_view("chunk"); });
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_TRUE(response->existed());
}

TEST_F(GrpcConnectionTest, AnErrorOfTheCallbackCancelsDeref) {
  const auto status = connection_->Deref(
      {}, [](const v1::DerefResponse::Header&) { return absl::OkStatus(); },
      [](std::string_view) { return absl::InternalError("mine"); });
  EXPECT_EQ(status, absl::InternalError("mine"));
}

}  // namespace
}  // namespace tiffin
