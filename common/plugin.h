// Plug-ins: shared objects that bring a Registry to a server, `--registry base+numpy+./libmine.so`.
//
//   #include "common/plugin.h"
//   tiffin::Registry MyRegistry() { … }
//   TIFFIN_PLUGIN(MyRegistry)
//
// A plug-in links tiffin::common, has the same compiler, Abseil and version of what it shares with
// the server (TIFFIN_PLUGIN_ABI, checked when it is loaded), and stays loaded until the process
// ends. It runs in the server's process with the server's rights: load none you do not trust. Its
// serialisers are called from any thread, gRPC's own too, and must not block.
#ifndef TIFFIN_COMMON_PLUGIN_H_
#define TIFFIN_COMMON_PLUGIN_H_

#include <memory>
#include <string>

#include "absl/base/config.h"
#include "absl/status/statusor.h"
#include "common/registry.h"

// Raised with every change of the classes a plug-in shares with the server: Registry,
// RecordSerialiser, Value, Object, Ref, PathLink.
#define TIFFIN_PLUGIN_ABI_VERSION "1"

// What must be equal on both sides, as one text. Classes of Abseil cross, too.
#define TIFFIN_PLUGIN_TEXT(number) #number
#define TIFFIN_PLUGIN_NUMBER(number) TIFFIN_PLUGIN_TEXT(number)
#ifdef ABSL_LTS_RELEASE_VERSION
#define TIFFIN_PLUGIN_ABI_ABSL                                                     \
  "absl-" TIFFIN_PLUGIN_NUMBER(ABSL_LTS_RELEASE_VERSION) "." TIFFIN_PLUGIN_NUMBER( \
      ABSL_LTS_RELEASE_PATCH_LEVEL)
#else
#define TIFFIN_PLUGIN_ABI_ABSL "absl"
#endif
#ifdef _GLIBCXX_DEBUG
#define TIFFIN_PLUGIN_ABI_DEBUG "debug"
#else
#define TIFFIN_PLUGIN_ABI_DEBUG "plain"
#endif
#define TIFFIN_PLUGIN_ABI                                                               \
  "tiffin-plugin/" TIFFIN_PLUGIN_ABI_VERSION " " __VERSION__ " " TIFFIN_PLUGIN_ABI_ABSL \
  " " TIFFIN_PLUGIN_ABI_DEBUG

// Exports a function `tiffin::Registry Function()` as this shared object's registry.
#define TIFFIN_PLUGIN(Function)                                                       \
  extern "C" __attribute__((visibility("default"))) const char* tiffin_plugin_abi() { \
    return TIFFIN_PLUGIN_ABI;                                                         \
  }                                                                                   \
  extern "C" __attribute__((visibility("default"))) void* tiffin_registry() {         \
    return tiffin::plugin_internal::Export(&Function);                                \
  }                                                                                   \
  static_assert(true, "")

namespace tiffin {

// Loads a plug-in and returns its registry, which tells what is wrong as statuses: an exception
// that a plug-in throws, at any time, becomes INTERNAL naming the plug-in. Errors: NOT_FOUND if
// there is no such file; FAILED_PRECONDITION if it is no plug-in, cannot be loaded, or was built
// for another version of the interface or another compiler.
absl::StatusOr<Registry> LoadPlugin(const std::string& file);

namespace plugin_internal {

// Exceptions end here: the caller is C. nullptr: it threw.
inline void* Export(Registry (*function)()) noexcept {
  try {
    return std::make_unique<Registry>(function()).release();
  } catch (...) {
    return nullptr;
  }
}

}  // namespace plugin_internal
}  // namespace tiffin

#endif  // TIFFIN_COMMON_PLUGIN_H_
