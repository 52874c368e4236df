#include "server/blobs/guarded.h"

#include <setjmp.h>
#include <signal.h>

namespace tiffin::server {
namespace {

// Where this thread goes on after SIGBUS; null outside of RunGuarded.
thread_local sigjmp_buf* go_on = nullptr;
struct sigaction previous;

void OnSigbus(int) {
  if (go_on != nullptr) siglongjmp(*go_on, 1);
  // Not ours: the access is tried again and meets the handler there was before.
  sigaction(SIGBUS, &previous, nullptr);
}

bool Install() {
  struct sigaction action = {};
  action.sa_handler = OnSigbus;
  action.sa_flags = SA_NODEFER;  // siglongjmp leaves the handler for good
  sigemptyset(&action.sa_mask);
  return sigaction(SIGBUS, &action, &previous) == 0;
}

}  // namespace

bool RunGuarded(void (*touch)(void*), void* context) {
  static const bool installed = Install();
  if (!installed) return false;  // read nothing rather than die of it
  sigjmp_buf here;
  if (sigsetjmp(here, /*savesigs=*/0) != 0) {
    go_on = nullptr;
    return false;
  }
  go_on = &here;
  touch(context);
  go_on = nullptr;
  return true;
}

}  // namespace tiffin::server
