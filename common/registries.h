// The registries that tiffin brings: `base`, `numpy`, `pickle`, and their sum with plug-ins.
#ifndef TIFFIN_COMMON_REGISTRIES_H_
#define TIFFIN_COMMON_REGISTRIES_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "common/registry.h"

namespace tiffin {

// Python's own objects, Noodles' own, and tiffin's: `<object>` records by class, `<method>`,
// `<automagic>` and the other types as hooks, and the bases of well-known classes. No default.
Registry BaseRegistry();

// numpy's arrays in all their three encodings, scalars, and `<ufunc>`. No default.
Registry NumpyRegistry();

// Pickles of any class: an `<object>` whose data is base64 of a pickle (protocol 2 and later) is
// kept as it is and never opened. No default.
Registry PickleRegistry();

// What becomes of a record that no serialiser knows.
enum class Unknown {
  kKeep,    // kept as it is; opaque base64 and marked values leave as values
  kRefuse,  // INVALID_ARGUMENT naming type and class
};
Registry UnknownRegistry(Unknown unknown);

struct RegistryOptions {
  // Summands from left to right: names of registries above, and paths of plug-ins
  // (common/plugin.h), which have a '/' in them: `base+numpy+./libspectra.so`.
  std::string spec = "base+numpy+pickle";
  Unknown unknown = Unknown::kKeep;  // unless a summand brings a default
  // Bases of more classes: `fixtures.MyDict=builtins.dict`, several separated by commas.
  std::vector<std::string> bases;
};

// The sum. INVALID_ARGUMENT naming the summand that is no registry, or the malformed base;
// FAILED_PRECONDITION for a plug-in that cannot be loaded or was built for another tiffin.
absl::StatusOr<std::shared_ptr<const Registry>> MakeRegistry(const RegistryOptions& options);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_REGISTRIES_H_
