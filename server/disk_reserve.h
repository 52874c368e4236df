// DATA/reserve: space that is given up when the disk is full, so that what frees space can be
// written.
#ifndef TIFFIN_SERVER_DISK_RESERVE_H_
#define TIFFIN_SERVER_DISK_RESERVE_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <mutex>
#include <thread>

#include "absl/status/statusor.h"
#include "server/jobs/disk_room.h"

namespace tiffin::server {

// The disk is full when less than `low_bytes` are free, or when a write met its end (a quota). From
// then on nothing that needs space is written, until the reserve can be made again with `low_bytes`
// to spare; or, if there never was room for one, until twice `low_bytes` are free. Looks once a
// second, and when a write met a full disk or is about to be refused. A reserve that was given up
// stays as an empty file, so that the next start knows. Threads: all methods may be called from any
// thread.
class DiskReserve : public DiskRoom {
 public:
  struct Options {
    std::filesystem::path folder;
    uint64_t bytes = uint64_t{64} << 20;  // 0: none is kept, and only low_bytes counts
    uint64_t low_bytes = uint64_t{8} << 20;
  };

  // Makes the reserve if there is room; gives it up if the disk is full already. UNAVAILABLE if the
  // file system cannot be asked.
  static absl::StatusOr<std::unique_ptr<DiskReserve>> Open(const Options& options);
  ~DiskReserve() override;

  absl::Status Check() override;
  void MetFull() override { LookNow(true); }
  void Look() override { LookNow(false); }
  State state() override;

 private:
  explicit DiskReserve(const Options& options) : options_(options) {}

  void LookNow(bool met_full);
  // With mutex_ held.
  absl::StatusOr<uint64_t> FreeBytes() const;
  bool Take(const std::filesystem::path& file, uint64_t bytes) const;
  bool MakeReserve();
  void GiveUp();
  std::filesystem::path File() const { return options_.folder / "reserve"; }

  const Options options_;
  std::atomic<bool> full_{false};
  std::mutex mutex_;  // guards all below, and changes of full_
  std::condition_variable wake_;
  bool made_ = false;   // the file is there, whole
  bool given_ = false;  // it was, and was given up
  bool stop_ = false;
  std::thread watcher_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_SERVER_DISK_RESERVE_H_
