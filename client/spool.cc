#include "client/spool.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "common/base64.h"
#include "common/crypto.h"
#include "common/status.h"

namespace tiffin {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::hours kNoRoom(24);

absl::Status Failed(std::string_view doing, const std::string& path) {
  return absl::UnknownError(StrCat("spool: ", doing, " ", path, ": ", std::strerror(errno)));
}

// Writes all and syncs it.
absl::Status WriteDurably(const std::string& path, std::string_view bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd < 0) return Failed("cannot make", path);
  size_t written = 0;
  while (written < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + written, bytes.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    written += static_cast<size_t>(n);
  }
  const bool ok = written == bytes.size() && ::fsync(fd) == 0;
  absl::Status status = ok ? absl::OkStatus() : Failed("cannot write", path);
  ::close(fd);
  if (!ok) ::unlink(path.c_str());
  return status;
}

absl::Status SyncFolder(const std::string& folder) {
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool ok = fd >= 0 && ::fsync(fd) == 0;
  absl::Status status = ok ? absl::OkStatus() : Failed("cannot sync", folder);
  if (fd >= 0) ::close(fd);
  return status;
}

std::vector<fs::path> Waiting(const std::string& folder) {
  std::vector<std::pair<fs::file_time_type, fs::path>> found;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;
    if (it->path().extension() == ".result") {
      found.emplace_back(fs::last_write_time(it->path(), gone), it->path());
    }
  }
  std::sort(found.begin(), found.end());
  std::vector<fs::path> paths;
  for (auto& [time, path] : found) paths.push_back(std::move(path));
  return paths;
}

// Whether the server has the result now, or another that all agree on.
bool Delivered(const absl::Status& status) { return status.ok() || absl::IsAlreadyExists(status); }

// Nothing more can be delivered now.
bool IsAway(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsUnauthenticated(status) || absl::IsPermissionDenied(status) ||
         absl::IsCancelled(status);
}

// This one cannot be now: there is no room for it, or it was computed without a lease, and somebody
// has one. (What there is no room for day after day is too large for that server.)
bool MayPass(const absl::Status& status, const v1::StoreResultRequest& request,
             const fs::path& path) {
  if (absl::IsFailedPrecondition(status)) return request.lease().empty();
  if (!absl::IsResourceExhausted(status)) return false;
  std::error_code error;
  const auto written = fs::last_write_time(path, error);
  return error || fs::file_time_type::clock::now() - written < kNoRoom;
}

}  // namespace

std::string Spool::DefaultFolder() {
  if (const char* folder = std::getenv("TIFFIN_SPOOL"); folder && *folder) return folder;
  if (const char* state = std::getenv("XDG_STATE_HOME"); state && *state) {
    return std::string(state) + "/tiffin/spool";
  }
  const char* home = std::getenv("HOME");
  return std::string(home && *home ? home : ".") + "/.local/state/tiffin/spool";
}

bool Spool::MayStillCome(const absl::Status& answer) {
  return IsAway(answer) || absl::IsResourceExhausted(answer);
}

absl::Status Spool::Add(const v1::StoreResultRequest& request) {
  if (request.ByteSizeLong() > kMaxMessageBytes) {
    return absl::InvalidArgumentError(StrCat("spool: a result of ", request.ByteSizeLong(),
                                             " bytes, a message carries ", kMaxMessageBytes));
  }
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) return absl::UnknownError(StrCat("spool: ", folder_, ": ", error.message()));
  const std::string name = folder_ + "/" + Base64UrlEncode(RandomBytes(15));
  TIFFIN_RETURN_IF_ERROR(WriteDurably(name + ".part", request.SerializeAsString()));
  if (::rename((name + ".part").c_str(), (name + ".result").c_str()) != 0) {
    return Failed("cannot name", name);
  }
  return SyncFolder(folder_);
}

absl::StatusOr<Spool::Outcome> Spool::Deliver(Connection& connection,
                                              const std::function<bool()>& stop) {
  Outcome outcome;
  bool away = false;
  for (const fs::path& path : Waiting(folder_)) {
    if (away || (stop && stop())) {
      ++outcome.left;
      continue;
    }
    std::ifstream file(path, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    if (!file) continue;  // another process delivered it
    v1::StoreResultRequest request;
    absl::Status status = request.ParseFromString(bytes.str())
                              ? connection.StoreResult(request).status()
                              : absl::DataLossError("not a spooled result");
    std::error_code error;
    if (Delivered(status)) {
      fs::remove(path, error);
      ++outcome.delivered;
    } else if (IsAway(status) || MayPass(status, request, path)) {
      away = IsAway(status);
      ++outcome.left;
      outcome.why = std::move(status);
    } else {
      // A person has to look at it.
      fs::path refused = path, why = path;
      fs::rename(path, refused.replace_extension(".refused"), error);
      std::ofstream(why.replace_extension(".why")) << status.ToString() << '\n';
      ++outcome.refused;
    }
  }
  return outcome;
}

bool Spool::empty() const { return Waiting(folder_).empty(); }

}  // namespace tiffin
