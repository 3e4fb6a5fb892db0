#include "wandistill/ops/vae_image.h"

#include <algorithm>
#include <cmath>

namespace wandistill::ref {

void vae_image(int64_t pixels, int64_t plane, const float* x, float* image, int32_t* not_finite,
               const Queue&) {
  for (int64_t c = 0; c < 3; ++c)
    for (int64_t p = 0; p < pixels; ++p) {
      const float value = x[p * 3 + c];
      if (!std::isfinite(value)) *not_finite = 1;
      image[c * plane + p] = std::clamp(value, -1.0f, 1.0f);
    }
}

}  // namespace wandistill::ref
