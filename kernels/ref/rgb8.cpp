#include "wandistill/ops/rgb8.h"

#include <cmath>

namespace wandistill::ref {

void rgb8(int64_t pixels, const float* image, uint8_t* rgb, const Queue&) {
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < 3; ++c) {
      const float x = image[c * pixels + p] / 2 + 0.5f;
      const float unit = x > 0 ? (x < 1 ? x : 1.0f) : 0.0f;  // NaN compares false: 0
      rgb[p * 3 + c] = static_cast<uint8_t>(std::nearbyint(unit * 255));
    }
  }
}

}  // namespace wandistill::ref
