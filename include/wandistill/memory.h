// How much memory this process may still take.
#pragma once

#include <cstdint>

namespace wandistill {

/// Bytes that the system (MemAvailable of /proc/meminfo) and this process's control group (cgroup v2, or v1)
/// have free; the lesser. 0 where neither says.
int64_t available_memory();

}  // namespace wandistill
