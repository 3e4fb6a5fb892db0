// A picture in [-1, 1] as bytes.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// image [3, pixels] to rgb [pixels, 3]: round(255 clamp(x / 2 + 1/2, 0, 1)), halves to even, as diffusers'
/// image processor rounds. NaN becomes 0.
using Rgb8 = void(int64_t pixels, const float* image, uint8_t* rgb, const Queue& queue);

namespace ref {
Rgb8 rgb8;
}  // namespace ref

}  // namespace wandistill
