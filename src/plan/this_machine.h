// The machine of the ranks that are running, as a plan takes it.
#pragma once

#include "wandistill/gpu.h"
#include "wandistill/machine.h"
#include "wandistill/session.h"

namespace wandistill {

/// device: the rank's; null: it computes on the CPU. With the memory that is free now.
Machine this_machine(const Session& session, Device* device);

}  // namespace wandistill
