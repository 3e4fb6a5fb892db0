#include "wandistill/ops/guidance.h"

namespace wandistill::ref {

void guidance(int64_t n, float g, const float* cond, const float* uncond, float* out, const Queue&) {
  for (int64_t i = 0; i < n; ++i) out[i] = uncond[i] + g * (cond[i] - uncond[i]);
}

}  // namespace wandistill::ref
