#include "server/config.h"

#include <CLI/CLI.hpp>
#include <map>
#include <string>

#include "server/host_memory.h"

namespace tiffin::server {

std::optional<Config> ReadConfig(int argc, char** argv, int* exit_code) {
  Config config;
  config.result_cache = ResultCacheFor(HostMemory());
  CLI::App app("tiffin-server: remembers what jobs computed");
  app.set_version_flag("--version", TIFFIN_VERSION);
  app.set_config("--config", "", "TOML file with the keys below");
  double min_term = 5, max_term = 3600, term = 30, max_hold = 86400, keepalive = 60;
  app.add_option("--data", config.data, "Folder of the database and the packs")
      ->envname("TIFFIN_DATA");
  app.add_option("--listen", config.listen, "Address and port; port 0 takes a free one")
      ->envname("TIFFIN_LISTEN")
      ->capture_default_str();
  app.add_option("--metrics", config.metrics,
                 "Address and port of http://…/metrics for Prometheus; absent: none; port 0 takes "
                 "a free one")
      ->envname("TIFFIN_METRICS");
  app.add_option("--backend", config.backend, "sqlite+hdf5, or memory (nothing is kept)")
      ->envname("TIFFIN_BACKEND")
      ->capture_default_str()
      ->check(CLI::IsMember({"sqlite+hdf5", "memory"}));
  app.add_option("--log-level", config.log_level, "debug logs every call")
      ->envname("TIFFIN_LOG_LEVEL")
      ->capture_default_str()
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}));
  app.add_flag("--allow-unversioned-main", config.allow_unversioned_main,
               "Take jobs of functions in __main__ without version or salt")
      ->envname("TIFFIN_ALLOW_UNVERSIONED_MAIN");
  app.add_option("--registry", config.registry.spec,
                 "Kinds of records: base, numpy, pickle and paths of plug-ins, joined with '+'")
      ->envname("TIFFIN_REGISTRY")
      ->capture_default_str();
  app.add_option("--unknown", config.registry.unknown,
                 "Records that no serialiser knows: keep them as they are, or refuse them")
      ->envname("TIFFIN_UNKNOWN")
      ->default_str("keep")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, Unknown>{{"keep", Unknown::kKeep}, {"refuse", Unknown::kRefuse}}));
  app.add_option("--bases", config.registry.bases,
                 "Bases of a class, to be known by them: CLASS=BASE,BASE (may be repeated)")
      ->envname("TIFFIN_BASES");
  app.add_option("--inline-limit", config.limits.inline_limit,
                 "Bytes from which bulk leaves a record")
      ->envname("TIFFIN_INLINE_LIMIT")
      ->capture_default_str()
      ->check(CLI::Range(64, 1 << 20));
  app.add_option("--max-record", config.limits.json.max_text_bytes, "Bytes of a record's JSON text")
      ->envname("TIFFIN_MAX_RECORD")
      ->capture_default_str()
      ->check(CLI::Range(1024, 16 << 20));
  app.add_option("--max-nesting", config.limits.json.max_nesting, "Depth of a record")
      ->envname("TIFFIN_MAX_NESTING")
      ->capture_default_str()
      ->check(CLI::Range(8, 1000));
  app.add_option("--max-entries", config.limits.json.max_entries, "Entries of one list or object")
      ->envname("TIFFIN_MAX_ENTRIES")
      ->capture_default_str()
      ->check(CLI::Range(16, 10'000'000));
  app.add_option("--term", term, "Seconds a lease lasts if the client does not say")
      ->envname("TIFFIN_TERM")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 86400.0));
  app.add_option("--min-term", min_term, "Least seconds of a lease")
      ->envname("TIFFIN_MIN_TERM")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 86400.0));
  app.add_option("--max-term", max_term, "Most seconds of a lease")
      ->envname("TIFFIN_MAX_TERM")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 86400.0));
  app.add_option("--max-lost", config.limits.max_lost,
                 "Lost holders in a row after which a job fails")
      ->envname("TIFFIN_MAX_LOST")
      ->capture_default_str()
      ->check(CLI::Range(1, 1000));
  app.add_option("--max-hold", max_hold,
                 "Seconds a lease lasts without progress, however often it is renewed")
      ->envname("TIFFIN_MAX_HOLD")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 1e9));
  app.add_option("--keepalive", keepalive,
                 "Seconds of silence after which a connection is asked whether it lives; a third "
                 "later it is closed")
      ->envname("TIFFIN_KEEPALIVE")
      ->capture_default_str()
      ->check(CLI::Range(1.0, 7200.0));
  app.add_option("--result-cache", config.result_cache, "Bytes of results read last, in memory")
      ->envname("TIFFIN_RESULT_CACHE")
      ->default_str("a 64th of the memory, from 64 MiB to 1 GiB");
  app.add_option("--max-memory", config.max_memory, "Bytes in flight, of all calls")
      ->envname("TIFFIN_MAX_MEMORY")
      ->capture_default_str()
      ->check(CLI::Range(uint64_t{16} << 20, uint64_t{1} << 46));
  app.add_option("--stream-memory", config.stream_memory,
                 "Bytes of one upload, read and not yet written; it counts three times, as gRPC "
                 "reads ahead")
      ->envname("TIFFIN_STREAM_MEMORY")
      ->capture_default_str()
      ->check(CLI::Range(uint64_t{1} << 20, uint64_t{1} << 30));
  app.add_option("--idle-time", config.idle_time,
                 "Seconds for which a client may let memory of a stream lie that other calls are "
                 "refused for want of")
      ->envname("TIFFIN_IDLE_TIME")
      ->capture_default_str()
      ->check(CLI::Range(0.1, 1e6));
  app.add_option("--max-streams", config.max_streams, "Calls at a time on one connection")
      ->envname("TIFFIN_MAX_STREAMS")
      ->capture_default_str()
      ->check(CLI::Range(1, 100'000));
  app.add_option("--open-pack", config.open_pack,
                 "Bytes of a pack that small blobs are appended to")
      ->envname("TIFFIN_OPEN_PACK")
      ->capture_default_str()
      ->check(CLI::Range(uint64_t{2} << 20, uint64_t{1} << 40));
  app.add_flag(
         "--allow-local", config.allow_local,
         "Tell callers where packs lie, to map them; packs may hold blobs of other namespaces")
      ->envname("TIFFIN_ALLOW_LOCAL");
  app.add_option("--pin-time", config.pin_time,
                 "Seconds in which a blob that a client was told of is not collected")
      ->envname("TIFFIN_PIN_TIME")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--upload-time", config.upload_time, "Seconds that a broken upload is kept")
      ->envname("TIFFIN_UPLOAD_TIME")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e7));
  app.add_option("--upload-quota", config.upload_quota, "Bytes of uploads that can be resumed")
      ->envname("TIFFIN_UPLOAD_QUOTA")
      ->capture_default_str();
  app.add_option("--reserve", config.reserve,
                 "Bytes of DATA/reserve, given up when the disk is full so that space can be freed")
      ->envname("TIFFIN_RESERVE")
      ->capture_default_str();
  app.add_option(
         "--backups", config.backups,
         "Folder that Backup makes copies in, best on the disk of --data; absent: none are made")
      ->envname("TIFFIN_BACKUPS");
  app.add_flag("--allow-network-folder", config.allow_network_folder,
               "Take a data folder on a network file system, which this host alone must mount")
      ->envname("TIFFIN_ALLOW_NETWORK_FOLDER");
  app.add_flag("--rebuild", config.rebuild,
               "Make the database anew from what is left of it and from the packs, and end")
      ->configurable(false);
  app.add_option("--verify-rate", config.verify_rate,
                 "MiB/s read in the background to find damage; 0: none")
      ->envname("TIFFIN_VERIFY_RATE")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1e6));
  app.add_option("--verify-every", config.verify_every,
                 "Seconds from one reading of everything to the next, at least")
      ->envname("TIFFIN_VERIFY_EVERY")
      ->capture_default_str()
      ->check(CLI::Range(0.001, 1e9));
  try {
    app.parse(argc, argv);
    if (config.data.empty() && config.backend != "memory") {
      throw CLI::RequiredError("--data (or TIFFIN_DATA)");
    }
    if (min_term > term || term > max_term) {
      throw CLI::ValidationError("--term", "must lie between --min-term and --max-term");
    }
  } catch (const CLI::ParseError& error) {
    *exit_code = app.exit(error) == 0 ? 0 : 2;
    return std::nullopt;
  }
  config.limits.min_term = absl::Seconds(min_term);
  config.limits.max_term = absl::Seconds(max_term);
  config.max_hold = absl::Seconds(max_hold);
  config.keepalive = absl::Seconds(keepalive);
  config.limits.default_term = absl::Seconds(term);
  config.limits.json.max_tree_bytes =
      std::min<size_t>(config.limits.json.max_tree_bytes, config.max_memory);
  return config;
}

}  // namespace tiffin::server
