// A layer below the server, loaded with LD_PRELOAD: sees each call of the server, SQLite and HDF5
// on files below TIFFIN_LAYER_ROOT. It counts them, fails them or kills the process at one of them
// as the rules in TIFFIN_LAYER_CONTROL say, and writes what changes the disk to TIFFIN_LAYER_TAPE
// (appended), in order, from which disk_model.py tells what a power cut would leave.
//
// A call is written to the tape before it is made, so that a killed process has made nothing that
// is not on it; a sync is written when it begins and when it has ended.
//
// TIFFIN_LAYER_FILE_SYSTEM is the number of a kind of file system, in hexadecimal, that the root
// pretends to be.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>

#include "layer_control.h"

namespace tiffin::crash {
namespace {

constexpr int kMaxFd = 1 << 16;

template <typename Function>
Function* Next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}
// The function of that name that this one stands before.
#define REAL(name)                                          \
  ([] {                                                     \
    static const auto real = Next<decltype(::name)>(#name); \
    return real;                                            \
  }())

struct OpenFile {
  std::string path;  // below the root
  uint64_t handle;
  bool folder;
  OpenFile* older = nullptr;  // all there were: other threads may still look at them
};

// Never destroyed: calls may come while the process ends.
struct Layer {
  std::string root;  // with a slash at the end
  Control* control = nullptr;
  int tape = -1;
  decltype(statfs::f_type) file_system = 0;           // 0: what it is
  pthread_mutex_t order = PTHREAD_MUTEX_INITIALIZER;  // a change and its record are one step
  std::atomic<uint64_t> next_number{1};
  std::atomic<OpenFile*> files[kMaxFd] = {};
  OpenFile* newest = nullptr;  // guarded by order
};

Layer* MakeLayer() {
  const char* const root = getenv("TIFFIN_LAYER_ROOT");
  if (root == nullptr) return nullptr;
  auto* layer = new Layer;
  layer->root = std::string(root) + "/";
  // Numbers are told apart from those of other runs on the same tape.
  layer->next_number = static_cast<uint64_t>(getpid()) << 32;
  if (const char* path = getenv("TIFFIN_LAYER_CONTROL")) {
    const int fd = REAL(open)(path, O_RDWR | O_CLOEXEC);
    void* const page =
        REAL(mmap)(nullptr, sizeof(Control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd < 0 || page == MAP_FAILED) abort();
    layer->control = static_cast<Control*>(page);
    REAL(close)(fd);
  }
  if (const char* path = getenv("TIFFIN_LAYER_TAPE")) {
    layer->tape = REAL(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (layer->tape < 0) abort();
  }
  if (const char* number = getenv("TIFFIN_LAYER_FILE_SYSTEM")) {
    layer->file_system = static_cast<decltype(layer->file_system)>(strtoul(number, nullptr, 16));
  }
  return layer;
}

Layer* TheLayer() {
  // A sanitizer makes calls before there is an environment.
  if (environ == nullptr) return nullptr;
  static Layer* const layer = MakeLayer();
  return layer;
}

// Whether the layer looks at this path; `below` is then the part below the root.
bool IsSeen(const char* path, std::string* below) {
  const Layer* const layer = TheLayer();
  if (layer == nullptr || path == nullptr) return false;
  const std::string_view whole(path);
  below->clear();
  if (whole.size() + 1 == layer->root.size() && layer->root.starts_with(whole)) return true;
  if (!whole.starts_with(layer->root)) return false;
  *below = whole.substr(layer->root.size());
  while (below->ends_with('/')) below->pop_back();
  return true;
}

OpenFile* Find(int fd) {
  // No file: perhaps an allocator maps its first memory, and there is none yet to make the layer
  // of.
  if (fd < 0 || fd >= kMaxFd) return nullptr;
  Layer* const layer = TheLayer();
  if (layer == nullptr) return nullptr;
  return layer->files[fd].load(std::memory_order_acquire);
}

[[noreturn]] void Die() {
  kill(getpid(), SIGKILL);
  while (true) pause();
}

// What the rules say of one call.
class Judged {
 public:
  Judged(Kind kind, const std::string& path) {
    Control* const control = TheLayer()->control;
    if (control == nullptr) return;
    __atomic_add_fetch(&control->calls[kind], 1, __ATOMIC_RELAXED);
    for (Rule& rule : control->rules) Apply(rule, kind, path);
  }
  // errno is set, and the call is not to be made.
  bool failed() const {
    if (error_ != 0) errno = error_;
    return error_ != 0;
  }
  bool cut_short() const { return short_; }
  void CallIsDone() const {
    if (kill_after_) Die();
  }

 private:
  void Apply(Rule& rule, Kind kind, const std::string& path) {
    const uint32_t action = __atomic_load_n(&rule.action, __ATOMIC_ACQUIRE);
    if (action == kNothing || (rule.kinds >> kind & 1) == 0) return;
    if (rule.path[0] != '\0' && fnmatch(rule.path, path.c_str(), 0) != 0) return;
    const uint64_t number = __atomic_add_fetch(&rule.seen, 1, __ATOMIC_RELAXED);
    if (number < rule.first || (rule.count != 0 && number >= rule.first + rule.count)) return;
    __atomic_add_fetch(&rule.hits, 1, __ATOMIC_RELAXED);
    if (action == kKillBefore) Die();
    if (action == kFail) error_ = rule.error;
    if (action == kShort) short_ = true;
    if (action == kKillAfter) kill_after_ = true;
  }

  int error_ = 0;
  bool short_ = false;
  bool kill_after_ = false;
};

class InOrder {
 public:
  InOrder() { pthread_mutex_lock(&TheLayer()->order); }
  ~InOrder() { pthread_mutex_unlock(&TheLayer()->order); }
};

// To be called in order. `data` may be null.
void Tape(TapeRecord record, std::string_view path, std::string_view path2 = {},
          const iovec* data = nullptr, int parts = 0) {
  const int tape = TheLayer()->tape;
  if (tape < 0) return;
  record.path_length = path.size();
  record.path2_length = path2.size();
  std::string bytes(reinterpret_cast<const char*>(&record), sizeof record);
  bytes.append(path).append(path2);
  uint64_t left = record.length;
  for (int i = 0; i < parts && left > 0; ++i) {
    const size_t n = std::min<uint64_t>(left, data[i].iov_len);
    bytes.append(static_cast<const char*>(data[i].iov_base), n);
    left -= n;
  }
  const int before = errno;
  for (std::string_view rest = bytes; !rest.empty();) {
    const ssize_t n = REAL(write)(tape, rest.data(), rest.size());
    if (n <= 0) abort();  // a tape with holes would tell lies
    rest.remove_prefix(n);
  }
  errno = before;
}

// In order.
OpenFile* Keep(OpenFile file) {
  Layer* const layer = TheLayer();
  file.older = layer->newest;
  return layer->newest = new OpenFile(std::move(file));
}

void Remember(int fd, std::string path, uint64_t handle) {
  if (fd < 0 || fd >= kMaxFd) return;
  struct stat info;
  const bool folder = fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
  TheLayer()->files[fd].store(Keep({std::move(path), handle, folder}), std::memory_order_release);
}

// Open files are known by their new name.
void Renamed(const std::string& from, const std::string& to) {
  for (auto& slot : TheLayer()->files) {
    const OpenFile* const file = slot.load(std::memory_order_acquire);
    if (file == nullptr || file->path != from) continue;
    slot.store(Keep({to, file->handle, file->folder}), std::memory_order_release);
  }
}

int OpenSeen(const std::string& below, const char* path, int flags, mode_t mode) {
  struct stat info;
  const bool makes = (flags & O_CREAT) != 0 && lstat(path, &info) != 0;
  const Judged judged(makes ? kCreate : kOpen, below);
  if (judged.failed()) return -1;
  int fd = -1;
  {
    InOrder order;
    const uint64_t handle = TheLayer()->next_number++;
    const bool changes = makes || (flags & O_TRUNC) != 0;
    if (changes) Tape({.kind = makes ? kCreate : kOpen, .handle = handle, .offset = flags}, below);
    fd = REAL(open)(path, flags, mode);
    if (fd >= 0 && !changes) Tape({.kind = kOpen, .handle = handle}, below);
    if (fd >= 0) Remember(fd, below, handle);
  }
  judged.CallIsDone();
  return fd;
}

// A call that changes a file: judged, written down, made.
template <typename Call>
int Change(Kind kind, const OpenFile& file, int64_t offset, const Call& call) {
  const Judged judged(kind, file.path);
  if (judged.failed()) return -1;
  int result = 0;
  {
    InOrder order;
    Tape({.kind = kind, .handle = file.handle, .offset = offset}, file.path);
    result = call();
  }
  judged.CallIsDone();
  return result;
}

// A call that changes names.
template <typename Call>
int ChangeName(Kind kind, const std::string& path, const std::string& path2, const Call& call) {
  const Judged judged(kind, path2.empty() ? path : path2);
  if (judged.failed()) return -1;
  int result = 0;
  {
    InOrder order;
    result = call();
    // Written afterwards, for only then it is known whether there was such a name. A kill in
    // between would leave a name that the tape does not know: it blocks nothing, since nothing
    // depends on it yet.
    if (result == 0) Tape({.kind = kind}, path, path2);
  }
  judged.CallIsDone();
  return result;
}

template <typename Call>
int SyncSeen(const OpenFile& file, const Call& call) {
  const Kind kind = file.folder ? kSyncFolder : kSync;
  const Judged judged(kind, file.path);
  const uint64_t number = TheLayer()->next_number++;
  {
    InOrder order;
    Tape({.kind = kSyncBegins, .handle = file.handle, .sync = number}, file.path);
  }
  int result = judged.failed() ? -1 : call();
  const int error = errno;
  {
    InOrder order;
    Tape({.kind = kind, .result = result, .handle = file.handle, .sync = number}, file.path);
  }
  judged.CallIsDone();
  errno = error;
  return result;
}

// offset < 0: where the file stands.
ssize_t WriteSeen(int fd, const OpenFile& file, const iovec* parts, int n, off_t offset) {
  const Judged judged(kWrite, file.path);
  if (judged.failed()) return -1;
  uint64_t total = 0;
  for (int i = 0; i < n; ++i) total += parts[i].iov_len;
  ssize_t written = -1;
  {
    InOrder order;
    const off_t at = offset >= 0 ? offset : lseek(fd, 0, SEEK_CUR);
    iovec first = n > 0 ? parts[0] : iovec{};
    if (judged.cut_short() && total > 1) {
      first.iov_len = std::max<size_t>(first.iov_len / 2, 1);
      total = first.iov_len;
      parts = &first;
      n = 1;
    }
    Tape({.kind = kWrite, .handle = file.handle, .offset = at, .length = total}, file.path, {},
         parts, n);
    written = offset >= 0 ? REAL(pwritev)(fd, parts, n, offset) : REAL(writev)(fd, parts, n);
  }
  judged.CallIsDone();
  return written;
}

}  // namespace
}  // namespace tiffin::crash

using namespace tiffin::crash;  // NOLINT: the functions below stand in for libc's

extern "C" {

static mode_t ModeOf(int flags, va_list more) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(more, mode_t) : 0;
}

#define TIFFIN_OPEN(name)                                            \
  int name(const char* path, int flags, ...) {                       \
    va_list more;                                                    \
    va_start(more, flags);                                           \
    const mode_t mode = ModeOf(flags, more);                         \
    va_end(more);                                                    \
    std::string below;                                               \
    if (!IsSeen(path, &below)) return REAL(name)(path, flags, mode); \
    return OpenSeen(below, path, flags, mode);                       \
  }
TIFFIN_OPEN(open)
TIFFIN_OPEN(open64)

#define TIFFIN_OPENAT(name)                                                  \
  int name(int folder, const char* path, int flags, ...) {                   \
    va_list more;                                                            \
    va_start(more, flags);                                                   \
    const mode_t mode = ModeOf(flags, more);                                 \
    va_end(more);                                                            \
    std::string below;                                                       \
    if (!IsSeen(path, &below)) return REAL(name)(folder, path, flags, mode); \
    return OpenSeen(below, path, flags, mode);                               \
  }
TIFFIN_OPENAT(openat)
TIFFIN_OPENAT(openat64)

static void Forget(int fd) {
  if (OpenFile* const file = Find(fd)) {
    InOrder order;
    Tape({.kind = kClose, .handle = file->handle}, file->path);
    TheLayer()->files[fd].store(nullptr, std::memory_order_release);
  }
}

int close(int fd) {
  Forget(fd);
  return REAL(close)(fd);
}

int closedir(DIR* folder) {  // closes its descriptor within libc
  Forget(dirfd(folder));
  return REAL(closedir)(folder);
}

#define TIFFIN_PWRITE(name)                                             \
  ssize_t name(int fd, const void* data, size_t length, off_t offset) { \
    const OpenFile* const file = Find(fd);                              \
    if (file == nullptr) return REAL(name)(fd, data, length, offset);   \
    const iovec part = {const_cast<void*>(data), length};               \
    return WriteSeen(fd, *file, &part, 1, offset);                      \
  }
TIFFIN_PWRITE(pwrite)
TIFFIN_PWRITE(pwrite64)

#define TIFFIN_PWRITEV(name)                                      \
  ssize_t name(int fd, const iovec* parts, int n, off_t offset) { \
    const OpenFile* const file = Find(fd);                        \
    if (file == nullptr) return REAL(name)(fd, parts, n, offset); \
    return WriteSeen(fd, *file, parts, n, offset);                \
  }
TIFFIN_PWRITEV(pwritev)
TIFFIN_PWRITEV(pwritev64)

ssize_t write(int fd, const void* data, size_t length) {
  const OpenFile* const file = Find(fd);
  if (file == nullptr) return REAL(write)(fd, data, length);
  const iovec part = {const_cast<void*>(data), length};
  return WriteSeen(fd, *file, &part, 1, -1);
}

ssize_t writev(int fd, const iovec* parts, int n) {
  const OpenFile* const file = Find(fd);
  if (file == nullptr) return REAL(writev)(fd, parts, n);
  return WriteSeen(fd, *file, parts, n, -1);
}

#define TIFFIN_PREAD(name)                                            \
  ssize_t name(int fd, void* data, size_t length, off_t offset) {     \
    const OpenFile* const file = Find(fd);                            \
    if (file == nullptr) return REAL(name)(fd, data, length, offset); \
    const Judged judged(kRead, file->path);                           \
    if (judged.failed()) return -1;                                   \
    if (judged.cut_short() && length > 1) length /= 2;                \
    return REAL(name)(fd, data, length, offset);                      \
  }
TIFFIN_PREAD(pread)
TIFFIN_PREAD(pread64)

ssize_t read(int fd, void* data, size_t length) {
  const OpenFile* const file = Find(fd);
  if (file != nullptr && Judged(kRead, file->path).failed()) return -1;
  return REAL(read)(fd, data, length);
}

#define TIFFIN_FTRUNCATE(name)                                                   \
  int name(int fd, off_t size) {                                                 \
    const OpenFile* const file = Find(fd);                                       \
    if (file == nullptr) return REAL(name)(fd, size);                            \
    return Change(kTruncate, *file, size, [&] { return REAL(name)(fd, size); }); \
  }
TIFFIN_FTRUNCATE(ftruncate)
TIFFIN_FTRUNCATE(ftruncate64)

#define TIFFIN_FALLOCATE(name)                                           \
  int name(int fd, int mode, off_t offset, off_t length) {               \
    const OpenFile* const file = Find(fd);                               \
    if (file == nullptr) return REAL(name)(fd, mode, offset, length);    \
    return Change(kAllocate, *file, offset + length,                     \
                  [&] { return REAL(name)(fd, mode, offset, length); }); \
  }
TIFFIN_FALLOCATE(fallocate)
TIFFIN_FALLOCATE(fallocate64)

// glibc's own would not come by here. What it does where a file system cannot allocate is left out.
int posix_fallocate(int fd, off_t offset, off_t length) {
  return fallocate(fd, 0, offset, length) == 0 ? 0 : errno;
}
int posix_fallocate64(int fd, off64_t offset, off64_t length) {
  return posix_fallocate(fd, offset, length);
}

int fsync(int fd) {
  const OpenFile* const file = Find(fd);
  if (file == nullptr) return REAL(fsync)(fd);
  return SyncSeen(*file, [fd] { return REAL(fsync)(fd); });
}

int fdatasync(int fd) {
  const OpenFile* const file = Find(fd);
  if (file == nullptr) return REAL(fdatasync)(fd);
  return SyncSeen(*file, [fd] { return REAL(fdatasync)(fd); });
}

int rename(const char* from, const char* to) {
  std::string below, below2;
  if (!IsSeen(from, &below) || !IsSeen(to, &below2)) return REAL(rename)(from, to);
  return ChangeName(kRename, below, below2, [&] {
    const int result = REAL(rename)(from, to);
    if (result == 0) Renamed(below, below2);
    return result;
  });
}

int unlink(const char* path) {
  std::string below;
  if (!IsSeen(path, &below)) return REAL(unlink)(path);
  return ChangeName(kUnlink, below, {}, [&] { return REAL(unlink)(path); });
}

int mkdir(const char* path, mode_t mode) {
  std::string below;
  if (!IsSeen(path, &below)) return REAL(mkdir)(path, mode);
  return ChangeName(kMkdir, below, {}, [&] { return REAL(mkdir)(path, mode); });
}

int rmdir(const char* path) {
  std::string below;
  if (!IsSeen(path, &below)) return REAL(rmdir)(path);
  return ChangeName(kRmdir, below, {}, [&] { return REAL(rmdir)(path); });
}

int statfs(const char* path, struct statfs* out) {
  const int result = REAL(statfs)(path, out);
  std::string below;
  if (result == 0 && IsSeen(path, &below) && TheLayer()->file_system != 0)
    out->f_type = TheLayer()->file_system;
  return result;
}

#define TIFFIN_MMAP(name)                                                            \
  void* name(void* at, size_t length, int access, int flags, int fd, off_t offset) { \
    const OpenFile* const file = Find(fd);                                           \
    if (file != nullptr && Judged(kMap, file->path).failed()) return MAP_FAILED;     \
    return REAL(name)(at, length, access, flags, fd, offset);                        \
  }
TIFFIN_MMAP(mmap)
TIFFIN_MMAP(mmap64)

}  // extern "C"
