#include "server/disk_reserve.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>

#include "common/status.h"

namespace tiffin::server {
namespace {

constexpr auto kLookEvery = std::chrono::seconds(1);

}  // namespace

absl::StatusOr<std::unique_ptr<DiskReserve>> DiskReserve::Open(const Options& options) {
  std::unique_ptr<DiskReserve> reserve(new DiskReserve(options));
  {
    std::lock_guard lock(reserve->mutex_);
    TIFFIN_ASSIGN_OR_RETURN(const uint64_t free, reserve->FreeBytes());
    std::error_code error;
    const uintmax_t had = std::filesystem::file_size(reserve->File(), error);
    const bool there = !error;
    reserve->made_ = there && had == options.bytes && options.bytes > 0;
    reserve->given_ = there && had == 0 && options.bytes > 0;
    if (options.bytes == 0) (void)::unlink(reserve->File().c_str());
    if (free < options.low_bytes) {
      reserve->GiveUp();
    } else if (!reserve->made_ && !reserve->MakeReserve()) {
      spdlog::warn("event=reserve note=\"no room for the reserve\" bytes={}", options.bytes);
      // Full since an earlier run: what is free now is what was given up.
      if (reserve->given_) reserve->GiveUp();
    }
  }
  reserve->watcher_ = std::thread([watched = reserve.get()] {
    std::unique_lock lock(watched->mutex_);
    while (!watched->stop_) {
      watched->wake_.wait_for(lock, kLookEvery);
      if (watched->stop_) return;
      lock.unlock();
      watched->LookNow(false);
      lock.lock();
    }
  });
  return reserve;
}

DiskReserve::~DiskReserve() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
    wake_.notify_all();
  }
  if (watcher_.joinable()) watcher_.join();
}

absl::Status DiskReserve::Check() {
  if (full_) LookNow(false);
  if (!full_) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      StrCat("the disk of ", options_.folder.string(),
             " is full: what is stored can be read; free space (tiffin gc) to store more"));
}

DiskRoom::State DiskReserve::state() {
  State state;
  std::lock_guard lock(mutex_);
  struct statvfs fs;
  if (statvfs(options_.folder.c_str(), &fs) == 0) {
    state.free_bytes = uint64_t{fs.f_bavail} * fs.f_frsize;
    state.total_bytes = uint64_t{fs.f_blocks} * fs.f_frsize;
  }
  state.full = full_;
  state.reserve_bytes = made_ ? options_.bytes : 0;
  return state;
}

absl::StatusOr<uint64_t> DiskReserve::FreeBytes() const {
  struct statvfs fs;
  if (statvfs(options_.folder.c_str(), &fs) != 0) {
    return absl::UnavailableError(
        StrCat("looking at ", options_.folder.string(), ": ", std::strerror(errno)));
  }
  return uint64_t{fs.f_bavail} * fs.f_frsize;
}

// Whether a file of so many bytes could be had; it stays, else it is empty.
bool DiskReserve::Take(const std::filesystem::path& file, uint64_t bytes) const {
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const bool taken = posix_fallocate(fd, 0, static_cast<off_t>(bytes)) == 0;
  if (!taken) {
    [[maybe_unused]] const int cut = ::ftruncate(fd, 0);
  }
  ::close(fd);
  return taken;
}

bool DiskReserve::MakeReserve() {
  if (options_.bytes == 0) return true;
  const absl::StatusOr<uint64_t> free = FreeBytes();
  if (!free.ok() || *free < options_.bytes + options_.low_bytes) return false;
  made_ = Take(File(), options_.bytes);
  if (made_) given_ = false;
  return made_;
}

void DiskReserve::GiveUp() {
  full_ = true;
  given_ = given_ || made_;
  made_ = false;
  // What cannot be cut cannot be given up: then Collect has to do without.
  if (given_ && ::truncate(File().c_str(), 0) != 0) {
    spdlog::warn("event=reserve note=\"it cannot be given up\" error=\"{}\"", std::strerror(errno));
  }
  spdlog::error("event=disk_full note=\"nothing more is stored until space is freed\"");
}

void DiskReserve::LookNow(bool met_full) {
  std::lock_guard lock(mutex_);
  const absl::StatusOr<uint64_t> free = FreeBytes();
  if (!free.ok()) return;
  if (!full_) {
    bool full = *free < options_.low_bytes;
    if (!full && met_full) {
      // A quota is not seen in the free space. Something large may simply not have fitted.
      const std::filesystem::path probe = options_.folder / "tmp" / "probe";
      full = !Take(probe, options_.low_bytes);
      (void)::unlink(probe.c_str());
    }
    if (full) {
      GiveUp();
    } else if (!made_) {
      (void)MakeReserve();
    }
    return;
  }
  // Without one to make, some distance keeps it from going back and forth.
  const bool room = given_ ? MakeReserve() : *free >= 2 * options_.low_bytes;
  if (!room) return;
  full_ = false;
  spdlog::info("event=disk_room free={}", *free);
}

}  // namespace tiffin::server
