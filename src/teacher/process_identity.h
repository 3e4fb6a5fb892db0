// Which process something belongs to, and whether it is still there.
#pragma once

#include "wandistill/json.h"

namespace wandistill {

/// This process, so that others on this machine can tell it from any other, one that gets its number later
/// included:
/// {"host", "boot", "pid_namespace", "pid", "started"}.
Json process_identity();

/// True if that process was one of this machine (as booted now, in our pid namespace) and has ended, or waits
/// for its parent to take note. False if it runs, or if that cannot be told from here.
bool process_ended(const Json& identity);

}  // namespace wandistill
