// What the VAE's last layer leaves, as a picture.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// x [pixels, 3], clamped to [-1, 1], into three planes of `image` that begin `plane` floats apart.
/// not_finite [1] becomes 1 if an element of x is not finite, and stays as it is else.
template <class T>
using VaeImage = void(int64_t pixels, int64_t plane, const T* x, float* image, int32_t* not_finite,
                      const Queue& queue);

namespace ref {
VaeImage<float> vae_image;
}  // namespace ref

}  // namespace wandistill
