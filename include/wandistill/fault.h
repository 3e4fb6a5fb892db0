// Points at which a test lets something go wrong.
#pragma once

#include <cstdint>
#include <string_view>

#include "wandistill/error.h"

namespace wandistill {

/// True if what stands at this point is to fail, in the way in which it fails when its system does. In the
/// program it is always false (src/io/no_fault.cpp); test programs are linked with tests/faults/fault.cpp
/// instead, which has the list of points and how to ask for faults, and which may also wait here, or kill the
/// process. id: what tells the visits of this point apart (a prompt, a size).
bool fault_strikes(std::string_view point, int64_t id = 0);

/// Where what fails throws.
inline void fault_point(std::string_view point, int64_t id = 0) {
  if (fault_strikes(point, id)) fail("a fault was injected here (", point, ")");
}

}  // namespace wandistill
