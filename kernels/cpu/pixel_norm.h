// The VAE's RMS norm with SiLU in two steps, for kernels that apply it to what they read. Both are compiled
// once (rms_norm_silu.cpp), so that the bits are the same wherever they are called.
#pragma once

#include <cstdint>

namespace wandistill::cpu {

/// scales [pixels] = sqrt(C) / max(||x||, 1e-12), x [pixels, C].
void pixel_scales(int64_t pixels, int64_t channels, const float* x, float* scales);
/// y [pixels, n] = x scale gamma, with `silu` passed through y / (1 + exp(-y)): some of the pixels' channels,
/// `x_stride` and `y_stride` floats from one pixel's to the next one's. y may be x.
void scale_pixels(int64_t pixels, int64_t n, const float* x, int64_t x_stride, const float* scales,
                  const float* gamma, bool silu, float* y, int64_t y_stride);

}  // namespace wandistill::cpu
