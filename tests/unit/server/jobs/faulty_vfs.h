// A SQLite VFS over the usual one that counts what reaches the disk and can break it.
#ifndef TIFFIN_TESTS_UNIT_SERVER_JOBS_FAULTY_VFS_H_
#define TIFFIN_TESTS_UNIT_SERVER_JOBS_FAULTY_VFS_H_

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

namespace tiffin::server {

// Registered for as long as it lives. The databases opened through it must be gone by then.
class FaultyVfs {
 public:
  FaultyVfs();
  ~FaultyVfs();
  FaultyVfs(const FaultyVfs&) = delete;
  FaultyVfs& operator=(const FaultyVfs&) = delete;

  // For SqliteJobDatabaseOptions::vfs.
  const std::string& name() const { return name_; }

  // Faults, while they are true.
  std::atomic<bool> disk_full = false;       // writes to the database and its log fail
  std::atomic<bool> log_sync_fails = false;  // syncs of the log fail
  std::atomic<bool> file_sync_fails = false;

  // What happened since the start.
  std::atomic<int> log_syncs = 0;
  std::atomic<int> file_syncs = 0;
  std::set<std::thread::id> file_writers() const;  // threads that wrote to the database's file
  void ForgetFileWriters();

 private:
  friend struct FaultyVfsCalls;
  struct Registration;

  void NoteFileWriter();

  mutable std::mutex mutex_;
  std::set<std::thread::id> file_writers_;  // guarded by mutex_
  std::string name_;
  std::unique_ptr<Registration> registration_;
};

}  // namespace tiffin::server

#endif  // TIFFIN_TESTS_UNIT_SERVER_JOBS_FAULTY_VFS_H_
