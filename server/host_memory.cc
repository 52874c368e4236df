#include "server/host_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <limits>
#include <optional>
#include <string>

namespace tiffin::server {
namespace {

constexpr uint64_t kNoLimit = std::numeric_limits<uint64_t>::max();

// The number that the file begins with; none if it is not there, or says `max`.
std::optional<uint64_t> NumberIn(const std::filesystem::path& file) {
  std::ifstream in(file);
  uint64_t number = 0;
  if (in >> number) return number;
  return std::nullopt;
}

uint64_t MachineMemory(const std::filesystem::path& root) {
  std::ifstream in(root / "proc/meminfo");
  for (std::string name, unit; in >> name;) {
    uint64_t kibibytes = 0;
    if (name == "MemTotal:" && in >> kibibytes) return kibibytes << 10;
    std::getline(in, unit);
  }
  return kNoLimit;
}

// The least of the limits of a group and those above it, up to `top`. In a container the group's
// own path may not be there, only `top`, which is its own.
uint64_t LeastLimit(const std::filesystem::path& top, std::filesystem::path group,
                    const char* file) {
  uint64_t least = NumberIn(top / file).value_or(kNoLimit);
  for (group = group.relative_path(); group.has_filename(); group = group.parent_path()) {
    least = std::min(least, NumberIn(top / group / file).value_or(kNoLimit));
  }
  return least;
}

uint64_t GroupMemory(const std::filesystem::path& root) {
  uint64_t least = kNoLimit;
  std::ifstream in(root / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {  // number:controllers:path
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1),
                      group = line.substr(second + 1);
    const std::filesystem::path top = root / "sys/fs/cgroup";
    if (controllers.empty()) {  // version 2
      least = std::min(least, LeastLimit(top, group, "memory.max"));
    } else if (("," + controllers + ",").find(",memory,") != std::string::npos) {
      least = std::min(least, LeastLimit(top / "memory", group, "memory.limit_in_bytes"));
    }
  }
  return least;
}

}  // namespace

uint64_t HostMemory(const std::filesystem::path& root) {
  const uint64_t bytes = std::min(MachineMemory(root), GroupMemory(root));
  return bytes == kNoLimit ? 0 : bytes;
}

uint64_t ResultCacheFor(uint64_t memory) {
  return std::clamp(memory / 64, uint64_t{64} << 20, uint64_t{1} << 30);
}

}  // namespace tiffin::server
