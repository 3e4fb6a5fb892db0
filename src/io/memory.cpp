#include "wandistill/memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>

namespace wandistill {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

/// The number in a file of one number; kUnlimited for "max" and where there is none.
int64_t number_in(const std::string& path) {
  std::ifstream file(path);
  int64_t value = 0;
  return file >> value ? value : kUnlimited;
}

int64_t system_available() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  for (int64_t kilobytes = 0; file >> key >> kilobytes; std::getline(file, unit))
    if (key == "MemAvailable:") return kilobytes * 1024;
  return kUnlimited;
}

/// What the groups from this process's own up to the root leave.
int64_t group_available() {
  std::ifstream file("/proc/self/cgroup");
  int64_t available = kUnlimited;
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && controllers != "memory") continue;
    const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    for (std::string group = line.substr(second + 1);; group.erase(group.rfind('/'))) {
      const std::string folder = root + group;
      const int64_t limit = number_in(folder + (v2 ? "/memory.max" : "/memory.limit_in_bytes"));
      const int64_t used = number_in(folder + (v2 ? "/memory.current" : "/memory.usage_in_bytes"));
      if (limit != kUnlimited && used != kUnlimited)
        available = std::min(available, std::max<int64_t>(0, limit - used));
      if (group.empty() || group == "/") break;
    }
  }
  return available;
}

}  // namespace

int64_t available_memory() {
  const int64_t available = std::min(system_available(), group_available());
  return available == kUnlimited ? 0 : available;
}

}  // namespace wandistill
