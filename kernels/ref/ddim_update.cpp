#include "wandistill/ops/ddim_update.h"

#include <vector>

#include "wandistill/philox.h"

namespace wandistill::ref {

void ddim_update(int64_t n, const DdimCoefficients* step, bool noise, const float* cond, const float* uncond,
                 float* x, const Queue&) {
  std::vector<float> z(static_cast<size_t>(noise ? n : 0));
  fill_gaussian(step->noise_seed, step->noise_stream, 0, std::ssize(z), z.data());
  for (int64_t i = 0; i < n; ++i) {
    double m = cond[i];
    if (uncond != nullptr) m = uncond[i] + step->guidance * (m - uncond[i]);
    double next = step->keep * double{x[i]} + step->move * m;
    if (noise) next += step->fresh * double{z[i]};
    x[i] = static_cast<float>(next);
  }
}

}  // namespace wandistill::ref
