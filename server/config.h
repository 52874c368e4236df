// What an operator can set: flags, TIFFIN_… in the environment, keys of a TOML file, in that order
// of precedence.
#ifndef TIFFIN_SERVER_CONFIG_H_
#define TIFFIN_SERVER_CONFIG_H_

#include <optional>
#include <string>

#include "common/registries.h"
#include "server/store/record_gate.h"

namespace tiffin::server {

struct Config {
  std::string data;                       // folder
  std::string listen = "127.0.0.1:7410";  // port 0: a free one
  std::string metrics;                    // address of /metrics; empty: none
  std::string backend = "sqlite+hdf5";    // or memory: nothing outlives the process
  std::string log_level = "info";
  bool allow_unversioned_main = false;
  uint64_t max_memory = uint64_t{512} << 20;   // bytes in flight
  uint64_t stream_memory = uint64_t{4} << 20;  // of one upload
  // seconds in which a stream keeps memory that others want
  double idle_time = 15;
  int max_streams = 1000;                     // calls at a time on one connection
  uint64_t open_pack = uint64_t{64} << 20;    // bytes of an open pack
  absl::Duration max_hold = absl::Hours(24);  // of a lease without progress
  absl::Duration keepalive = absl::Seconds(60);
  uint64_t result_cache = uint64_t{64} << 20;  // bytes of results read last
  bool allow_local = false;                    // callers may be told where packs lie
  double pin_time = 3600;                      // seconds in which what was told of is not collected
  double upload_time = 86400;                  // seconds that a broken upload is kept
  uint64_t upload_quota = uint64_t{64} << 30;  // bytes of uploads that can be resumed
  double verify_rate = 4;                      // MiB/s read to find damage; 0: none
  double verify_every = 86400;                 // seconds from one pass to the next, at least
  uint64_t reserve = uint64_t{64} << 20;       // bytes given up when the disk is full
  std::string backups;                         // folder of copies; empty: none are made
  bool allow_network_folder = false;           // the data folder may be on NFS or the like
  bool rebuild = false;                        // make the database anew, and end
  Limits limits;                               // its registry is made from the next
  RegistryOptions registry;
};

// Reads the command line. nullopt: `*exit_code` says how to end (help was shown, or an error told
// on standard error).
std::optional<Config> ReadConfig(int argc, char** argv, int* exit_code);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_CONFIG_H_
