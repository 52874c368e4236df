// A plug-in for another tiffin: nothing of it may be called but the question what it was built for.
#include <cstdlib>

extern "C" __attribute__((visibility("default"))) const char* tiffin_plugin_abi() {
  return "tiffin-plugin/0 by another compiler";
}
extern "C" __attribute__((visibility("default"))) void* tiffin_registry() { std::abort(); }
