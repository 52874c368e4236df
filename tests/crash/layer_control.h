// What tests and the file layer tell each other: a page of memory shared through a file (layer.py
// has the same layout).
#ifndef TIFFIN_TESTS_CRASH_LAYER_CONTROL_H_
#define TIFFIN_TESTS_CRASH_LAYER_CONTROL_H_

#include <cstdint>

namespace tiffin::crash {

enum Kind : uint32_t {
  kOpen,
  kCreate,
  kWrite,
  kTruncate,
  kAllocate,
  kSync,
  kSyncFolder,
  kRename,
  kUnlink,
  kMkdir,
  kRead,
  kMap,
  kClose,
  kSyncBegins,
  kRmdir,
  kKinds
};

enum Action : uint32_t { kNothing, kFail, kShort, kKillBefore, kKillAfter };

// What happens to calls of `kinds` on paths like `path`, from the `first` (counted from 1) on.
struct Rule {
  uint32_t action;  // written last by the test
  int32_t error;    // errno of kFail
  uint64_t kinds;   // bits
  uint64_t first;
  uint64_t count;  // 0: until the rule is taken back
  uint64_t seen;   // calls that matched, counted by the layer
  uint64_t hits;   // calls acted on, counted by the layer
  char path[80];   // fnmatch below the root; empty: all
};

struct Control {
  uint64_t calls[16];  // of each kind, counted by the layer
  Rule rules[8];
};

// One call on the tape; then `path`, `path2`, and `length` bytes of data.
struct TapeRecord {
  uint32_t kind;
  int32_t result;
  uint64_t handle;  // of an open file; for a sync that begins or ends, the same number on both
  int64_t offset;   // of a write; the size of a truncation or allocation
  uint64_t length;
  uint32_t path_length, path2_length;
  uint64_t sync;  // a number of its own for each sync, on its begin and its end
};

}  // namespace tiffin::crash

#endif  // TIFFIN_TESTS_CRASH_LAYER_CONTROL_H_
