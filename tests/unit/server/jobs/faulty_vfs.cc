#include "tests/unit/server/jobs/faulty_vfs.h"

#include <sqlite3.h>

#include <new>
#include <string>

namespace tiffin::server {

struct FaultyVfs::Registration {
  sqlite3_vfs vfs;
};

namespace {

// An open file: SQLite's part first, then where calls go. The file of the VFS below follows it in
// the memory that SQLite gives.
struct FaultyFile {
  sqlite3_file base;
  FaultyVfs* owner;
  bool is_log;
  bool is_database;
  sqlite3_file* Below() { return reinterpret_cast<sqlite3_file*>(this + 1); }
};

FaultyFile* Of(sqlite3_file* file) { return reinterpret_cast<FaultyFile*>(file); }
sqlite3_file* Below(sqlite3_file* file) { return Of(file)->Below(); }
sqlite3_vfs* Usual() { return sqlite3_vfs_find("unix-excl"); }

}  // namespace

struct FaultyVfsCalls {
  static int Write(sqlite3_file* file, const void* bytes, int amount, sqlite3_int64 offset) {
    FaultyFile* self = Of(file);
    if (self->owner->disk_full && (self->is_log || self->is_database)) return SQLITE_FULL;
    if (self->is_database) self->owner->NoteFileWriter();
    return self->Below()->pMethods->xWrite(self->Below(), bytes, amount, offset);
  }

  static int Sync(sqlite3_file* file, int flags) {
    FaultyFile* self = Of(file);
    if (self->is_log) {
      ++self->owner->log_syncs;
      if (self->owner->log_sync_fails) return SQLITE_IOERR_FSYNC;
    }
    if (self->is_database) {
      ++self->owner->file_syncs;
      if (self->owner->file_sync_fails) return SQLITE_IOERR_FSYNC;
    }
    return self->Below()->pMethods->xSync(self->Below(), flags);
  }

  static int Close(sqlite3_file* f) { return Below(f)->pMethods->xClose(Below(f)); }
  static int Read(sqlite3_file* f, void* bytes, int amount, sqlite3_int64 offset) {
    return Below(f)->pMethods->xRead(Below(f), bytes, amount, offset);
  }
  static int Truncate(sqlite3_file* f, sqlite3_int64 size) {
    return Below(f)->pMethods->xTruncate(Below(f), size);
  }
  static int FileSize(sqlite3_file* f, sqlite3_int64* size) {
    return Below(f)->pMethods->xFileSize(Below(f), size);
  }
  static int Lock(sqlite3_file* f, int kind) { return Below(f)->pMethods->xLock(Below(f), kind); }
  static int Unlock(sqlite3_file* f, int kind) {
    return Below(f)->pMethods->xUnlock(Below(f), kind);
  }
  static int CheckReserved(sqlite3_file* f, int* out) {
    return Below(f)->pMethods->xCheckReservedLock(Below(f), out);
  }
  static int Control(sqlite3_file* f, int op, void* arg) {
    return Below(f)->pMethods->xFileControl(Below(f), op, arg);
  }
  static int SectorSize(sqlite3_file* f) { return Below(f)->pMethods->xSectorSize(Below(f)); }
  static int Characteristics(sqlite3_file* f) {
    return Below(f)->pMethods->xDeviceCharacteristics(Below(f));
  }
  static int ShmMap(sqlite3_file* f, int page, int size, int extend, void volatile** out) {
    return Below(f)->pMethods->xShmMap(Below(f), page, size, extend, out);
  }
  static int ShmLock(sqlite3_file* f, int offset, int n, int flags) {
    return Below(f)->pMethods->xShmLock(Below(f), offset, n, flags);
  }
  static void ShmBarrier(sqlite3_file* f) { Below(f)->pMethods->xShmBarrier(Below(f)); }
  static int ShmUnmap(sqlite3_file* f, int remove) {
    return Below(f)->pMethods->xShmUnmap(Below(f), remove);
  }

  static int Open(sqlite3_vfs* vfs, const char* path, sqlite3_file* file, int flags, int* out) {
    static const sqlite3_io_methods methods = {
        2,        Close,         Read,    Write,      Truncate,        Sync,   FileSize, Lock,
        Unlock,   CheckReserved, Control, SectorSize, Characteristics, ShmMap, ShmLock,  ShmBarrier,
        ShmUnmap, nullptr,       nullptr};
    FaultyFile* self = new (file) FaultyFile();
    self->owner = static_cast<FaultyVfs*>(vfs->pAppData);
    self->is_log = (flags & SQLITE_OPEN_WAL) != 0;
    self->is_database = (flags & SQLITE_OPEN_MAIN_DB) != 0;
    const int result = Usual()->xOpen(Usual(), path, self->Below(), flags, out);
    // SQLite closes what has methods.
    self->base.pMethods = self->Below()->pMethods == nullptr ? nullptr : &methods;
    return result;
  }
};

FaultyVfs::FaultyVfs() : registration_(std::make_unique<Registration>()) {
  static std::atomic<int> number = 0;
  name_ = "faulty" + std::to_string(++number);
  sqlite3_vfs& vfs = registration_->vfs;
  vfs = *Usual();  // all that concerns no open file goes straight there
  vfs.szOsFile = static_cast<int>(sizeof(FaultyFile)) + Usual()->szOsFile;
  vfs.pNext = nullptr;
  vfs.zName = name_.c_str();
  vfs.pAppData = this;
  vfs.xOpen = FaultyVfsCalls::Open;
  sqlite3_vfs_register(&vfs, /*makeDflt=*/0);
}

FaultyVfs::~FaultyVfs() { sqlite3_vfs_unregister(&registration_->vfs); }

void FaultyVfs::NoteFileWriter() {
  std::lock_guard lock(mutex_);
  file_writers_.insert(std::this_thread::get_id());
}

std::set<std::thread::id> FaultyVfs::file_writers() const {
  std::lock_guard lock(mutex_);
  return file_writers_;
}

void FaultyVfs::ForgetFileWriters() {
  std::lock_guard lock(mutex_);
  file_writers_.clear();
}

}  // namespace tiffin::server
