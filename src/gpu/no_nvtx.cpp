// Stages in a build without CUDA's NVTX.
#include "wandistill/stage.h"

namespace wandistill {

Stage::Stage(const char*) {}

Stage::~Stage() {}

}  // namespace wandistill
