// The one file that names all backends.
#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/resource_quota.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>

#include "common/registries.h"
#include "common/status.h"
#include "server/backup.h"
#include "server/blobs/hdf5_blob_store.h"
#include "server/blobs/memory_blob_store.h"
#include "server/data_folder.h"
#include "server/disk_reserve.h"
#include "server/jobs/memory_job_database.h"
#include "server/jobs/sqlite_job_database.h"
#include "server/metrics.h"
#include "server/service/admin_service.h"
#include "server/service/blobs_service.h"
#include "server/service/jobs_service.h"
#include "server/store/evictor.h"
#include "server/store/verifier.h"

namespace tiffin::server {
namespace {

constexpr int64_t kMostExpireEvery = 600;  // seconds
constexpr auto kDrainTime = std::chrono::seconds(5);
constexpr auto kSealTime = std::chrono::seconds(1);  // of packs; begun ones are finished
// For what was finished to reach the clients. gRPC would also wait for idle connections to close.
constexpr auto kFlushTime = std::chrono::milliseconds(300);

class ServerImpl : public Server {
 public:
  explicit ServerImpl(const Config& config)
      : config_(config),
        calls_({config.max_memory, config.stream_memory,
                std::chrono::milliseconds(static_cast<int64_t>(config.idle_time * 1000))}) {}

  ~ServerImpl() override {
    Drain();
    metrics_.reset();
    server_.reset();
    if (verifier_) verifier_->Stop();
    if (jobs_) jobs_->Stop();
    if (blobs_) blobs_->Stop();
    if (database_) database_->Close();
  }

  absl::Status Open() {
    TIFFIN_ASSIGN_OR_RETURN(config_.limits.registry, MakeRegistry(config_.registry));
    if (config_.backend == "memory") {
      database_ = MakeMemoryJobDatabase();
      bytes_ = MakeMemoryBlobStore();
    } else {
      TIFFIN_ASSIGN_OR_RETURN(folder_,
                              DataFolder::Open(config_.data, config_.allow_network_folder));
      DiskReserve::Options reserve{folder_->path()};
      reserve.bytes = config_.reserve;
      TIFFIN_ASSIGN_OR_RETURN(reserve_, DiskReserve::Open(reserve));
      TIFFIN_RETURN_IF_ERROR(folder_->CheckDatabase());
      SqliteJobDatabaseOptions database;
      database.room = reserve_.get();
      database.file = folder_->path() / "tiffin.db";
      TIFFIN_ASSIGN_OR_RETURN(database_, OpenSqliteJobDatabase(database));
      Hdf5BlobStoreOptions bytes;
      bytes.data = folder_->path();
      bytes.open_pack_bytes = config_.open_pack;
      bytes.uploads.kept = std::chrono::seconds(static_cast<int64_t>(config_.upload_time));
      bytes.uploads.quota = config_.upload_quota;
      TIFFIN_ASSIGN_OR_RETURN(bytes_, OpenHdf5BlobStore(bytes));
    }
    database_->OnFatal([](const absl::Status& status) {
      // What was acknowledged is safe; what is queued was not. Nothing more may be promised.
      spdlog::critical("event=fatal error=\"{}\"", std::string(status.message()));
      spdlog::shutdown();
      _exit(70);
    });
    blobs_ = std::make_unique<BlobCatalogue>(
        database_.get(), bytes_.get(), &clock_,
        BlobCatalogue::Options{
            std::chrono::seconds(static_cast<int64_t>(config_.pin_time)), reserve_.get(),
            std::chrono::seconds(std::clamp<int64_t>(static_cast<int64_t>(config_.upload_time), 1,
                                                     kMostExpireEvery))});
    TIFFIN_RETURN_IF_ERROR(blobs_->Start());
    jobs_ =
        std::make_unique<JobStore>(database_.get(), blobs_.get(), &clock_,
                                   JobStore::Options{config_.limits, config_.allow_unversioned_main,
                                                     config_.max_hold, config_.result_cache});
    history_ = std::make_unique<JobHistory>(database_.get(), jobs_.get());
    if (!config_.backups.empty()) {
      TIFFIN_ASSIGN_OR_RETURN(backups_, FolderBackups::Open(config_.backups, database_.get(),
                                                            bytes_.get(), blobs_.get()));
    }
    evictor_ = std::make_unique<Evictor>(database_.get(), blobs_.get(), jobs_.get());
    verifier_ = std::make_unique<Verifier>(database_.get(), bytes_.get(), blobs_.get(), jobs_.get(),
                                           &clock_);
    TIFFIN_RETURN_IF_ERROR(jobs_->Start());
    verifier_->Start(
        {static_cast<uint64_t>(config_.verify_rate * (1 << 20)),
         std::chrono::milliseconds(static_cast<int64_t>(config_.verify_every * 1000))});
    return absl::OkStatus();
  }

  absl::Status Listen() {
    jobs_service_ = std::make_unique<JobsService>(jobs_.get(), history_.get(), &calls_);
    blobs_service_ =
        std::make_unique<BlobsService>(blobs_.get(), config_.limits, config_.allow_local, &calls_);
    admin_service_ =
        std::make_unique<AdminService>(AdminService::Parts{.jobs = jobs_.get(),
                                                           .blobs = blobs_.get(),
                                                           .database = database_.get(),
                                                           .verifier = verifier_.get(),
                                                           .evictor = evictor_.get(),
                                                           .disk = reserve_.get(),
                                                           .backups = backups_.get(),
                                                           .backend = config_.backend,
                                                           .registry = config_.registry.spec,
                                                           .allow_local = config_.allow_local},
                                       &calls_);
    grpc::EnableDefaultHealthCheckService(true);
    grpc::reflection::InitProtoReflectionServerBuilderPlugin();
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort(config_.listen, grpc::InsecureServerCredentials(), &port);
    builder.SetMaxReceiveMessageSize(static_cast<int>(config_.limits.max_message_bytes));
    builder.SetMaxSendMessageSize(static_cast<int>(config_.limits.max_message_bytes));
    // gRPC takes a compressed message apart before it looks at its size.
    for (const auto algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
      builder.SetCompressionAlgorithmSupportStatus(algorithm, false);
    }
    // What a stream may send ahead of its reader, beside what waits for the disk. By itself gRPC
    // lets that grow with the speed of the connection, outside of every limit.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_BDP_PROBE, 0);
    builder.AddChannelArgument(
        GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES,
        static_cast<int>(std::clamp<uint64_t>(2 * config_.stream_memory, 64 << 10, 1 << 30)));
    builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, config_.max_streams);
    // Two servers on one port would each get half of the calls.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    // Clients may look after their connections, and a client that vanished is noticed too.
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 10'000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    const auto keepalive = static_cast<int>(absl::ToInt64Milliseconds(config_.keepalive));
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, keepalive);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, keepalive / 3);
    grpc::ResourceQuota quota("tiffin");
    quota.Resize(config_.max_memory);
    builder.SetResourceQuota(quota);
    builder.RegisterService(jobs_service_.get());
    builder.RegisterService(blobs_service_.get());
    builder.RegisterService(admin_service_.get());
    server_ = builder.BuildAndStart();
    if (!server_ || port == 0) {
      return absl::FailedPreconditionError(
          StrCat("cannot listen on ", config_.listen, ": in use, or no address of this machine"));
    }
    if (!config_.metrics.empty()) {
      TIFFIN_ASSIGN_OR_RETURN(metrics_,
                              MetricsServer::Start(config_.metrics, {.jobs = jobs_.get(),
                                                                     .blobs = blobs_.get(),
                                                                     .database = database_.get(),
                                                                     .verifier = verifier_.get(),
                                                                     .disk = reserve_.get(),
                                                                     .calls = &calls_}));
      spdlog::info("event=metrics address={}", metrics_->address());
    }
    address_ = config_.listen.substr(0, config_.listen.rfind(':') + 1) + std::to_string(port);
    return absl::OkStatus();
  }

  const std::string& address() const override { return address_; }

  void Drain() override {
    if (drained_) return;
    drained_ = true;
    if (server_) {
      if (auto* health = server_->GetHealthCheckService()) health->SetServingStatus(false);
      calls_.Drain();
      if (!calls_.WaitUntilIdle(kDrainTime)) {
        spdlog::warn("event=draining note=\"calls that still run are cut\"");
      }
      server_->Shutdown(std::chrono::system_clock::now() + kFlushTime);
    }
    if (blobs_ && server_) {
      const absl::StatusOr<SealCounts> sealed = blobs_->Seal(true, clock_.Steady() + kSealTime);
      if (!sealed.ok()) {
        // Nothing is lost: the next start seals them.
        spdlog::warn("event=seal error=\"{}\"", std::string(sealed.status().message()));
      }
    }
  }

 private:
  Config config_;  // its registry is filled in by Open
  SystemClock clock_;
  std::unique_ptr<DataFolder> folder_;
  std::unique_ptr<DiskReserve> reserve_;
  std::unique_ptr<JobDatabase> database_;
  std::unique_ptr<BlobStore> bytes_;
  std::unique_ptr<BlobCatalogue> blobs_;
  std::unique_ptr<JobStore> jobs_;
  std::unique_ptr<JobHistory> history_;
  std::unique_ptr<Verifier> verifier_;
  std::unique_ptr<Evictor> evictor_;
  std::unique_ptr<FolderBackups> backups_;
  Calls calls_;
  std::unique_ptr<JobsService> jobs_service_;
  std::unique_ptr<BlobsService> blobs_service_;
  std::unique_ptr<AdminService> admin_service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<MetricsServer> metrics_;
  std::string address_;
  bool drained_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Config& config) {
  auto server = std::make_unique<ServerImpl>(config);
  TIFFIN_RETURN_IF_ERROR(server->Open());
  TIFFIN_RETURN_IF_ERROR(server->Listen());
  return server;
}

}  // namespace tiffin::server
