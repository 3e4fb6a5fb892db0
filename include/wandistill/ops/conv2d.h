// 2-D convolution of one picture, channels last.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// x [h, w, c_in]; stride 1; kernel 3 (zero padding 1) or 1 (no padding). With `upsample` (only
/// with kernel 3) the picture is first doubled by repeating each pixel 2 x 2, and h, w are the sizes before
/// that.
struct Conv2dShape {
  int64_t height, width, c_in, c_out;
  int64_t kernel = 3;
  bool upsample = false;

  constexpr int64_t out_height() const { return upsample ? 2 * height : height; }
  constexpr int64_t out_width() const { return upsample ? 2 * width : width; }
};

/// y [out_height, out_width, c_out] = conv(x) + bias + residual; with gamma [c_in] conv(silu(norm(x))), the
/// norm as ops/rms_norm_silu.h has it (null: x as it is). Padding is with zeros of what is convolved. weight
/// [kernel, kernel, c_in, c_out] (PyTorch's [c_out, c_in, ky, kx] permuted), bias [c_out], residual as y or
/// null; it may be y itself. x and y do not overlap.
template <class T>
using Conv2dForward = void(const Conv2dShape& shape, const T* x, const T* gamma, const T* weight,
                           const T* bias, const T* residual, T* y, const Queue& queue);

namespace ref {
Conv2dForward<float> conv2d_forward;
}  // namespace ref
namespace cpu {
Conv2dForward<float> conv2d_forward;
/// Bytes that conv2d_forward allocates while it runs: the repacked weights, and one input tile per
/// thread with its pixels' norms. Neither grows with the picture.
int64_t conv2d_scratch_bytes(const Conv2dShape& shape, int threads);
}  // namespace cpu

}  // namespace wandistill
