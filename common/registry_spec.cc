// From what an operator writes to a Registry.
#include <utility>

#include "absl/strings/str_split.h"
#include "common/plugin.h"
#include "common/registries.h"
#include "common/status.h"
#include "common/strings.h"

namespace tiffin {
namespace {

absl::StatusOr<Registry> Summand(const std::string& name) {
  if (name == "base") return BaseRegistry();
  if (name == "numpy") return NumpyRegistry();
  if (name == "pickle") return PickleRegistry();
  if (name.find('/') != std::string::npos) return LoadPlugin(name);
  return absl::InvalidArgumentError(
      StrCat("registry \"", name,
             "\": expected base, numpy, pickle or the path of a plug-in (with a '/')"));
}

// `class=base,base`
absl::Status AddBases(const std::string& text, Registry* registry) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
  const std::vector<std::string> bases = absl::StrSplit(parts.second, ',', absl::SkipEmpty());
  if (parts.first.empty() || bases.empty()) {
    return absl::InvalidArgumentError(
        StrCat("bases \"", text, "\": expected CLASS=BASE, several bases separated by commas"));
  }
  registry->AddBases(parts.first, bases);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Registry>> MakeRegistry(const RegistryOptions& options) {
  Registry sum;
  for (const auto name : absl::StrSplit(ToAbsl(options.spec), '+')) {
    TIFFIN_ASSIGN_OR_RETURN(const Registry summand, Summand(std::string(name)));
    sum = sum + summand;
  }
  for (const std::string& bases : options.bases) {
    TIFFIN_RETURN_IF_ERROR(AddBases(bases, &sum));
  }
  return std::make_shared<const Registry>(sum + UnknownRegistry(options.unknown));
}

}  // namespace tiffin
