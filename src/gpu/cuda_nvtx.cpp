// Stages as NVTX ranges. The header loads a profiler's library at the first range if there is one; else a
// range is a look at a pointer.
#include <nvtx3/nvToolsExt.h>

#include "wandistill/stage.h"

namespace wandistill {

Stage::Stage(const char* name) {
  nvtxRangePushA(name);
}

Stage::~Stage() {
  nvtxRangePop();
}

}  // namespace wandistill
