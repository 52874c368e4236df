#include "common/plugin.h"

#include <dlfcn.h>

#include <filesystem>
#include <string_view>
#include <utility>

#include "common/status.h"
#include "common/strings.h"

namespace tiffin {
namespace {

absl::Status Thrown(const std::string& file, std::string_view what) {
  return absl::InternalError(StrCat("plug-in ", file, " threw: ", what));
}

// Calls into a plug-in; what it throws becomes a status.
template <typename Call>
auto Contained(const std::string& file, const Call& call) -> decltype(call()) {
  try {
    return call();
  } catch (const std::exception& error) {
    return Thrown(file, error.what());
  } catch (...) {
    return Thrown(file, "something that is no std::exception");
  }
}

// A plug-in's serialiser, whose exceptions end here.
class ContainedSerialiser : public RecordSerialiser {
 public:
  ContainedSerialiser(std::string file, SerialiserPtr inner)
      : file_(std::move(file)), inner_(std::move(inner)) {}

  absl::Status Check(const Object& record, const std::optional<RecordRef>& ref,
                     const PathLink& where) const override {
    return Contained(file_, [&] { return inner_->Check(record, ref, where); });
  }

  absl::StatusOr<std::vector<const Object*>> LeavingAtAnySize(const Object& record) const override {
    return Contained(file_, [&] { return inner_->LeavingAtAnySize(record); });
  }

  std::string Keeps() const override {
    const auto keeps =
        Contained(file_, [&]() -> absl::StatusOr<std::string> { return inner_->Keeps(); });
    return StrCat(keeps.ok() ? *keeps : std::string(keeps.status().message()), " (", file_, ")");
  }

 private:
  const std::string file_;
  const SerialiserPtr inner_;
};

absl::StatusOr<void*> Open(const std::string& file) {
  if (!std::filesystem::exists(file)) return absl::NotFoundError("there is no such file");
  // Its symbols are its own, and it stays: serialisers live as long as anyone has them.
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) return absl::FailedPreconditionError(dlerror());
  return library;
}

template <typename Function>
absl::StatusOr<Function*> FindFunction(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == nullptr) {
    return absl::FailedPreconditionError(StrCat("no plug-in of tiffin: it does not export ", name));
  }
  return reinterpret_cast<Function*>(symbol);
}

absl::StatusOr<Registry> Load(const std::string& file) {
  TIFFIN_ASSIGN_OR_RETURN(void* const library, Open(file));
  TIFFIN_ASSIGN_OR_RETURN(auto* const abi,
                          FindFunction<const char*()>(library, "tiffin_plugin_abi"));
  if (std::string_view(abi()) != TIFFIN_PLUGIN_ABI) {
    return absl::FailedPreconditionError(
        StrCat("it was built for \"", abi(), "\", this server is \"", TIFFIN_PLUGIN_ABI, "\""));
  }
  TIFFIN_ASSIGN_OR_RETURN(auto* const make, FindFunction<void*()>(library, "tiffin_registry"));
  const std::unique_ptr<Registry> registry(static_cast<Registry*>(make()));
  if (registry == nullptr) {
    return absl::FailedPreconditionError("it threw while it made its registry");
  }
  registry->Wrap(
      [&file](SerialiserPtr inner) -> SerialiserPtr {
        return std::make_shared<ContainedSerialiser>(file, std::move(inner));
      },
      [&file](Registry::HookFunction inner) -> Registry::HookFunction {
        return [file, inner = std::move(inner)](const Object& record) {
          return Contained(file, [&] { return inner(record); });
        };
      });
  return *registry;
}

}  // namespace

absl::StatusOr<Registry> LoadPlugin(const std::string& file) {
  absl::StatusOr<Registry> registry = Load(file);
  if (!registry.ok()) return Annotate(registry.status(), StrCat("plug-in ", file));
  return registry;
}

}  // namespace tiffin
