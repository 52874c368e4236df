// Not for others: the part of the base registry that is about Noodles' own classes.
#ifndef TIFFIN_COMMON_REGISTRY_NOODLES_H_
#define TIFFIN_COMMON_REGISTRY_NOODLES_H_

#include "common/registry.h"

namespace tiffin {

// Function nodes, workflows, messages and what they are made of.
void AddNoodlesClasses(Registry* registry);

}  // namespace tiffin

#endif  // TIFFIN_COMMON_REGISTRY_NOODLES_H_
