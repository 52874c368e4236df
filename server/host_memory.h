// How much memory there is.
#ifndef TIFFIN_SERVER_HOST_MEMORY_H_
#define TIFFIN_SERVER_HOST_MEMORY_H_

#include <cstdint>
#include <filesystem>

namespace tiffin::server {

// Bytes that this process may use: the machine's, or those of a control group that it is in (a
// container, a systemd unit), whichever are fewest; 0: the system does not say. `root` is where
// /proc and /sys are looked for.
uint64_t HostMemory(const std::filesystem::path& root = "/");

// Bytes of results that are best kept in so much memory: a 64th of it, from 64 MiB to 1 GiB.
uint64_t ResultCacheFor(uint64_t memory);

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_HOST_MEMORY_H_
