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
absl::StatusOr<std::pair<std::string, std::vector<std::string>>> ParseBases(
    const std::string& text) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
  const std::vector<std::string> bases = absl::StrSplit(parts.second, ',', absl::SkipEmpty());
  if (parts.first.empty() || bases.empty()) {
    return absl::InvalidArgumentError(
        StrCat("bases \"", text, "\": expected CLASS=BASE, several bases separated by commas"));
  }
  return std::make_pair(parts.first, bases);
}

// What would do nothing is a mistake. A class may stand before those that it derives from.
absl::Status AddBases(const std::vector<std::string>& texts, Registry* registry) {
  for (const std::string& text : texts) {
    TIFFIN_ASSIGN_OR_RETURN(const auto parsed, ParseBases(text));
    if (registry->HasClass(parsed.first)) {
      return absl::InvalidArgumentError(
          StrCat("bases \"", text, "\": ", parsed.first, " has checks of its own"));
    }
    registry->AddBases(parsed.first, parsed.second);
  }
  for (const std::string& text : texts) {
    TIFFIN_ASSIGN_OR_RETURN(const auto parsed, ParseBases(text));
    for (const std::string& base : parsed.second) {
      if (registry->KnowsClass(base)) continue;
      return absl::InvalidArgumentError(StrCat("bases \"", text, "\": no class ", base,
                                               " is known here (`tiffin describe` lists them)"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const Registry>> MakeRegistry(const RegistryOptions& options) {
  Registry sum;
  for (const auto name : absl::StrSplit(ToAbsl(options.spec), '+')) {
    TIFFIN_ASSIGN_OR_RETURN(const Registry summand, Summand(std::string(name)));
    sum = sum + summand;
  }
  TIFFIN_RETURN_IF_ERROR(AddBases(options.bases, &sum));
  return std::make_shared<const Registry>(sum + UnknownRegistry(options.unknown));
}

}  // namespace tiffin
