#include "server/jobs/sqlite_log_mark.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <system_error>
#include <utility>
#include <vector>

#include "common/checksum.h"
#include "common/status.h"
#include "server/jobs/file_status.h"

namespace tiffin::server {
namespace {

// The format of the log: https://www.sqlite.org/fileformat2.html, 4.
constexpr size_t kHeaderBytes = 32, kFrameBytes = 24;
constexpr uint32_t kMagic = 0x377f0682;  // its last bit: whether the sums are of big-endian words

uint32_t BigEndian(const char* at) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(at);
  return uint32_t{bytes[0]} << 24 | uint32_t{bytes[1]} << 16 | uint32_t{bytes[2]} << 8 |
         uint32_t{bytes[3]};
}

class RunningSum {
 public:
  explicit RunningSum(bool big_endian) : big_endian_(big_endian) {}
  void Add(const char* bytes, size_t size) {
    for (size_t at = 0; at + 8 <= size; at += 8) {
      first_ += Word(bytes + at) + second_;
      second_ += Word(bytes + at + 4) + first_;
    }
  }
  bool Is(const char* stored) const {
    return first_ == BigEndian(stored) && second_ == BigEndian(stored + 4);
  }

 private:
  uint32_t Word(const char* at) const {
    const uint32_t word = BigEndian(at);
    return big_endian_ ? word : __builtin_bswap32(word);
  }
  const bool big_endian_;
  uint32_t first_ = 0, second_ = 0;
};

struct LogState {
  uint64_t salt = 0;
  uint32_t pages = 0;  // committed, up to the first that is not sound
  bool empty = false;  // of no bytes: all was copied
};

absl::StatusOr<LogState> ScanLog(const std::filesystem::path& path) {
  LogState state;
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (error == std::errc::no_such_file_or_directory) return state;
  state.empty = !error && size == 0;
  if (state.empty) return state;
  std::ifstream file(path, std::ios::binary);
  if (error || !file) return absl::UnavailableError(StrCat("reading ", path.string()));
  char header[kHeaderBytes];
  if (!file.read(header, kHeaderBytes)) return state;
  const uint32_t page_bytes = BigEndian(header + 8);
  if ((BigEndian(header) & ~1u) != kMagic || page_bytes < 512 || page_bytes > 65536) return state;
  RunningSum sum((BigEndian(header) & 1) != 0);
  sum.Add(header, kHeaderBytes - 8);
  if (!sum.Is(header + kHeaderBytes - 8)) return state;
  std::memcpy(&state.salt, header + 16, sizeof state.salt);
  std::vector<char> frame(kFrameBytes + page_bytes);
  for (uint32_t sound = 1; file.read(frame.data(), static_cast<std::streamsize>(frame.size()));
       ++sound) {
    if (std::memcmp(frame.data() + 8, header + 16, 8) != 0) break;  // of an earlier log
    sum.Add(frame.data(), 8);
    sum.Add(frame.data() + kFrameBytes, page_bytes);
    if (!sum.Is(frame.data() + 16)) break;
    // What a broken commit has left will be written over.
    if (BigEndian(frame.data() + 4) != 0) state.pages = sound;
  }
  return state;
}

// Whether the log has so many pages at least, and a transaction ends with that one.
bool IsCommit(int log, const char* header, uint32_t pages) {
  const uint64_t at = kHeaderBytes + uint64_t{pages - 1} * (kFrameBytes + BigEndian(header + 8));
  char frame[kFrameBytes];
  return ::pread(log, frame, sizeof frame, static_cast<off_t>(at)) == sizeof frame &&
         std::memcmp(frame + 8, header + 16, 8) == 0 && BigEndian(frame + 4) != 0;
}

template <typename Record>
uint32_t SumOf(const Record& record) {
  return static_cast<uint32_t>(
      Checksum64().Add(static_cast<int64_t>(record.salt)).Add(int64_t{record.pages}).Finish());
}

}  // namespace

absl::StatusOr<std::unique_ptr<LogMark>> LogMark::Open(const std::filesystem::path& file) {
  const std::filesystem::path log = file.string() + "-wal", path = file.string() + "-copying";
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0 && errno != ENOENT) return FileStatus(errno, "opening", path.string());
  std::unique_ptr<LogMark> mark(new LogMark(path, log, fd));
  Record record;
  const ssize_t got = fd < 0 ? 0 : ::pread(fd, &record, sizeof record, 0);
  if (got < 0) return FileStatus(errno, "reading", path.string());
  TIFFIN_ASSIGN_OR_RETURN(const LogState state, ScanLog(log));
  mark->found_pages_ = state.pages;
  const bool set = got == sizeof record && record.pages > 0 && record.sum == SumOf(record);
  if (set && !state.empty && (state.salt != record.salt || state.pages < record.pages)) {
    return absl::DataLossError(StrCat("the log ", log.string(), " is damaged: it has lost some of ",
                                      record.pages,
                                      " pages that were being copied when the server was killed; "
                                      "run `tiffin-server --rebuild --data …`"));
  }
  mark->set_ = set;
  if (set && state.empty) TIFFIN_RETURN_IF_ERROR(mark->Write({}));  // nothing is left to be copied
  if (got == sizeof record || fd < 0) return mark;
  // Of a disk that was full when it was made: it is made anew.
  ::close(std::exchange(mark->fd_, -1));
  return mark;
}

LogMark::~LogMark() {
  if (fd_ >= 0) ::close(fd_);
}

absl::Status LogMark::Begin(uint32_t pages) {
  // What a killed server had not synced may go with a power cut: it is synced before the mark says
  // that it is there.
  const int log = ::open(log_.c_str(), O_RDONLY | O_CLOEXEC);
  if (log < 0)
    return errno == ENOENT ? absl::OkStatus() : FileStatus(errno, "opening", log_.string());
  char header[kHeaderBytes];
  const ssize_t got = ::pread(log, header, sizeof header, 0);
  const bool synced = ::fdatasync(log) == 0;
  const int error = errno;
  Record record{.pages = std::max(pages, found_pages_)};
  // The caller's number may be that of the log before, if a commit broke off when it had begun this
  // one.
  const bool known =
      got == sizeof header && record.pages > 0 && IsCommit(log, header, record.pages);
  ::close(log);
  if (!synced) sync_failed_ = true;
  if (got < 0 || !synced) return FileStatus(error, "syncing", log_.string());
  if (got != sizeof header) return absl::OkStatus();  // there is nothing in it
  if (!known) {
    TIFFIN_ASSIGN_OR_RETURN(const LogState state, ScanLog(log_));
    record.pages = state.pages;
  }
  if (record.pages == 0) return absl::OkStatus();
  std::memcpy(&record.salt, header + 16, sizeof record.salt);
  record.sum = SumOf(record);
  return fd_ < 0 ? Make(record) : Write(record);
}

absl::Status LogMark::Make(const Record& record) {
  fd_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  absl::Status made = fd_ < 0 ? FileStatus(errno, "making", path_.string()) : Write(record);
  if (made.ok()) return made;
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  ::unlink(path_.c_str());
  set_ = false;
  // A full disk must not keep a server from starting. It is made when there is room.
  return absl::IsResourceExhausted(made) && !sync_failed_ ? absl::OkStatus() : made;
}

absl::Status LogMark::End() {
  found_pages_ = 0;
  return set_ ? Write({}) : absl::OkStatus();
}

absl::Status LogMark::Write(const Record& record) {
  set_ = true;  // until it is known not to be
  const ssize_t written = ::pwrite(fd_, &record, sizeof record, 0);
  if (written != sizeof record)
    return FileStatus(written < 0 ? errno : ENOSPC, "writing", path_.string());
  if (::fdatasync(fd_) != 0) {
    sync_failed_ = true;
    return FileStatus(errno, "syncing", path_.string());
  }
  set_ = record.pages > 0;
  return absl::OkStatus();
}

}  // namespace tiffin::server
