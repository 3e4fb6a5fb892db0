// The program without the faults of its tests.
#include "wandistill/fault.h"

namespace wandistill {

bool fault_strikes(std::string_view, int64_t) {
  return false;
}

}  // namespace wandistill
