#include "tests/fuzz/message/served.h"

#include <google/protobuf/stubs/logging.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <string>
#include <system_error>

#include "tests/fuzz/fuzzing.h"

namespace tiffin::fuzzing {
namespace {

namespace fs = std::filesystem;

// In memory if possible: nothing here is to outlive a power cut.
fs::path MakeFolder() {
  const char* told = getenv("TMPDIR");
  const fs::path above = told != nullptr          ? fs::path(told)
                         : fs::exists("/dev/shm") ? fs::path("/dev/shm")
                                                  : fs::temp_directory_path();
  std::string folder = (above / "tiffin-fuzz-XXXXXX").string();
  FUZZ_CHECK(mkdtemp(folder.data()) != nullptr);
  return folder;
}

// Once a process.
void Prepare() {
  spdlog::set_level(spdlog::level::critical);
  google::protobuf::SetLogHandler(nullptr);  // it tells of each message that does not parse
  setenv("GRPC_VERBOSITY", "NONE", 0);
  // Uploads take their room beforehand: what is announced in jest must not fill the memory.
  const rlimit most = {uint64_t{128} << 20, uint64_t{128} << 20};
  FUZZ_CHECK(setrlimit(RLIMIT_FSIZE, &most) == 0);
  FUZZ_CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
}

// Limits are low, so that small inputs meet them.
server::Config ConfigFor(const fs::path& folder) {
  server::Config config;
  config.data = folder / "data";
  config.backups = folder / "backups";
  config.listen = "unix:" + (folder / "socket").string();
  config.stream_memory = uint64_t{1} << 20;
  config.open_pack = uint64_t{2} << 20;
  config.result_cache = uint64_t{64} << 10;
  config.allow_local = true;
  config.pin_time = 0;  // else Collect has nothing to do
  config.upload_quota = uint64_t{64} << 20;
  config.verify_rate = 0;
  config.reserve = uint64_t{1} << 20;
  config.limits.inline_limit = 64;
  config.limits.max_log_bytes = 256;
  config.limits.max_reply_bytes = 2000;
  config.limits.max_batch = 50;
  config.limits.min_term = absl::Milliseconds(1);
  return config;
}

}  // namespace

Served::Served() : folder_(MakeFolder()) {
  static const bool prepared = (Prepare(), true);
  FUZZ_CHECK(prepared);
  const server::Config config = ConfigFor(folder_);
  auto server = server::Server::Start(config);
  if (!server.ok()) std::fprintf(stderr, "%s\n", server.status().ToString().c_str());
  FUZZ_CHECK(server.ok());
  server_ = *std::move(server);
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  arguments.SetMaxSendMessageSize(-1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  stub_ = std::make_unique<grpc::GenericStub>(
      grpc::CreateCustomChannel(config.listen, grpc::InsecureChannelCredentials(), arguments));
}

Served::~Served() {
  stub_.reset();
  server_.reset();
  std::error_code error;
  fs::remove_all(folder_, error);
}

void Served::CheckFolder() {
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const fs::path name = entry.path().filename();
    FUZZ_CHECK(name == "data" || name == "backups" || name == "socket");
  }
  std::error_code error;  // a copy that was given up is still being made
  for (const auto& copy : fs::directory_iterator(folder_ / "backups")) {
    fs::remove_all(copy.path(), error);
  }
}

}  // namespace tiffin::fuzzing
