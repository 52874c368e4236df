#include "server/accept.h"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <mutex>

namespace tiffin::server {
namespace {

std::mutex mutex;  // guards what follows
int spare = -1;    // a descriptor to give up

int Accept(int socket, sockaddr* address, socklen_t* length, int flags) {
  return static_cast<int>(syscall(SYS_accept4, socket, address, length, flags));
}

// Closes the connections that wait, which there is no descriptor for.
void CloseWaiting(int socket) {
  std::lock_guard lock(mutex);
  if (spare < 0) return;
  close(spare);
  int closed = 0;
  for (int one = Accept(socket, nullptr, nullptr, SOCK_CLOEXEC); one >= 0;
       one = Accept(socket, nullptr, nullptr, SOCK_CLOEXEC)) {
    close(one);
    ++closed;
  }
  spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
  spdlog::warn("event=connections note=\"no descriptor was left (see ulimit -n)\" closed={}",
               closed);
}

}  // namespace

void KeepAccepting() {
  std::lock_guard lock(mutex);
  if (spare < 0) spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

}  // namespace tiffin::server

// In the place of the C library's, for all of the process.
extern "C" int accept4(int socket, sockaddr* address, socklen_t* length, int flags) {
  const int accepted = tiffin::server::Accept(socket, address, length, flags);
  if (accepted >= 0 ||
      (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM)) {
    return accepted;
  }
  tiffin::server::CloseWaiting(socket);
  errno = EAGAIN;
  return -1;
}
