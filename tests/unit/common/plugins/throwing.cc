// A plug-in that throws where it is told to: by the class of the record, or by the environment.
#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "common/plugin.h"

namespace {

class Throwing : public tiffin::RecordSerialiser {
 public:
  absl::Status Check(const tiffin::Object& record, const std::optional<tiffin::RecordRef>&,
                     const tiffin::PathLink&) const override {
    if (tiffin::RecordClass(record) == "check") throw std::runtime_error("from Check");
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<const tiffin::Object*>> LeavingAtAnySize(
      const tiffin::Object& record) const override {
    if (tiffin::RecordClass(record) == "leaving") throw 42;
    return std::vector<const tiffin::Object*>();
  }
  std::string Keeps() const override { throw std::runtime_error("from Keeps"); }
};

tiffin::Registry ThrowingRegistry() {
  if (std::getenv("TIFFIN_TEST_THROW") != nullptr) throw std::runtime_error("from the start");
  tiffin::Registry registry;
  registry.SetDefault(std::make_shared<Throwing>());
  registry.SetHookFunction([](const tiffin::Object& record) -> absl::StatusOr<std::string> {
    if (tiffin::RecordClass(record) == "hook") throw std::runtime_error("from the hook function");
    return "";
  });
  return registry;
}

}  // namespace

TIFFIN_PLUGIN(ThrowingRegistry);
