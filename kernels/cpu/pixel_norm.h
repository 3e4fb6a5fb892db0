// The VAE's RMS norm with SiLU in two steps, for kernels that apply it to what they read. Both are compiled
// once (rms_norm_silu.cpp), so that the bits are the same wherever they are called.
#pragma once

#include <cstdint>

namespace wandistill::cpu {

/// sqrt(C) / max(||x||, 1e-12), x [C] of one pixel.
float pixel_scale(int64_t channels, const float* x);
/// y [n] = x scale gamma, with `silu` passed through y / (1 + exp(-y)): some of a pixel's channels. y may be
/// x.
void scale_pixel(int64_t n, const float* x, float scale, const float* gamma, bool silu, float* y);

}  // namespace wandistill::cpu
