// The Wan VAE's normalisation with the activation behind it.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// x, y [pixels, C]: y = x / max(||x||, 1e-12) * sqrt(C) * gamma, the norm over the C channels of each pixel;
/// with `silu` y then passes through y / (1 + exp(-y)). y may be x itself.
template <class T>
using RmsNormSiluForward = void(int64_t pixels, int64_t channels, const T* x, const T* gamma, bool silu, T* y,
                                const Queue& queue);

namespace ref {
RmsNormSiluForward<float> rms_norm_silu_forward;
}  // namespace ref
namespace cpu {
RmsNormSiluForward<float> rms_norm_silu_forward;
}  // namespace cpu

}  // namespace wandistill
