// Whether there is room on the disk. An interface, so that rows and bytes need not know of the file
// system.
#ifndef TIFFIN_SERVER_JOBS_DISK_ROOM_H_
#define TIFFIN_SERVER_JOBS_DISK_ROOM_H_

#include <cstdint>

#include "absl/status/status.h"

namespace tiffin::server {

// Threads: all methods may be called from any thread. None blocks for long.
class DiskRoom {
 public:
  struct State {
    bool full = false;
    uint64_t free_bytes = 0, total_bytes = 0;  // of the file system
    uint64_t reserve_bytes = 0;                // kept to be given up
  };

  virtual ~DiskRoom() = default;
  // RESOURCE_EXHAUSTED while the disk is full: what needs more space is refused, what frees some
  // goes on.
  virtual absl::Status Check() = 0;
  // A write met a full disk.
  virtual void MetFull() = 0;
  // Space may have been freed.
  virtual void Look() = 0;
  virtual State state() = 0;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_JOBS_DISK_ROOM_H_
