// A plug-in of a project's own.
#include "common/plugin.h"
#include "common/shape_check.h"

namespace {

tiffin::Registry Moons() {
  tiffin::Registry registry;
  registry.AddHook("<moon>", tiffin::MakeShapedSerialiser(tiffin::AnyString, "as it is"));
  return registry;
}

}  // namespace

TIFFIN_PLUGIN(Moons);
