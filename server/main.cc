#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <cstdlib>
#include <iostream>
#include <memory>

#include "absl/synchronization/mutex.h"
#include "server/accept.h"
#include "server/config.h"
#include "server/rebuild.h"
#include "server/server.h"

namespace {

// Connections and packs take descriptors; the usual soft limit of 1,024 is for programs that use
// select.
void RaiseDescriptorLimit() {
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &limit);  // else it goes on with fewer
}

}  // namespace

int main(int argc, char** argv) {
  int exit_code = 0;
  const auto config = tiffin::server::ReadConfig(argc, argv, &exit_code);
  if (!config) return exit_code;

  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "tiffin", std::make_shared<spdlog::sinks::stderr_sink_mt>()));
  spdlog::set_pattern("time=%Y-%m-%dT%H:%M:%S.%eZ level=%l %v", spdlog::pattern_time_type::utc);
  spdlog::set_level(spdlog::level::from_str(config->log_level));
  spdlog::flush_on(spdlog::level::info);

  // Before any thread starts, so that all inherit it and only sigwait takes the signals.
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  signal(SIGPIPE, SIG_IGN);
  RaiseDescriptorLimit();
  tiffin::server::KeepAccepting();
  // Debian builds Abseil so that each of gRPC's mutexes looks for deadlocks, at 4 % of all time.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);

  if (config->rebuild) {
    const absl::Status rebuilt =
        tiffin::server::RebuildDatabase(config->data, config->allow_network_folder, std::cout);
    if (rebuilt.ok()) return EXIT_SUCCESS;
    spdlog::critical("event=rebuild error=\"{}\"", std::string(rebuilt.message()));
    return EXIT_FAILURE;
  }
  auto server = tiffin::server::Server::Start(*config);
  if (!server.ok()) {
    spdlog::critical("event=start error=\"{}\"", std::string(server.status().message()));
    return EXIT_FAILURE;
  }
  spdlog::info("event=serving address={} data=\"{}\" backend={} version={}", (*server)->address(),
               config->data, config->backend, TIFFIN_VERSION);
  int signal_number = 0;
  sigwait(&stop, &signal_number);
  spdlog::info("event=draining signal={}", signal_number);
  (*server)->Drain();
  server->reset();
  spdlog::info("event=stopped");
  return EXIT_SUCCESS;
}
