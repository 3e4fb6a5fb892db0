// RMS norm over all channels of the query or key (before the head split), then rotary position embedding.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// x, y [rows, H * D]. y = rope(x / sqrt(mean(x^2) + eps) * weight), the mean over all H * D channels
/// (`rms_norm_across_heads`). Row r uses the angles of position r % positions: cos, sin [positions, D / 2],
/// for the interleaved pairs (2i, 2i + 1) of each head; null cos: no rotation.
struct QkNormShape {
  int64_t rows, heads, head_dim;
  int64_t positions;
  float eps;
};

/// Writes y and rstd [rows].
template <class T>
using QkNormRopeForward = void(const QkNormShape& shape, const T* x, const T* weight, const float* cos,
                               const float* sin, T* y, float* rstd, const Queue& queue);
/// dx overwritten (may be dy itself); dweight [H * D] += ...
template <class T>
using QkNormRopeBackward = void(const QkNormShape& shape, const T* x, const T* weight, const float* cos,
                                const float* sin, const float* rstd, const T* dy, T* dx, float* dweight,
                                const Queue& queue);

namespace ref {
QkNormRopeForward<float> qk_norm_rope_forward;
QkNormRopeBackward<float> qk_norm_rope_backward;
}  // namespace ref
namespace cpu {
QkNormRopeForward<float> qk_norm_rope_forward;
QkNormRopeBackward<float> qk_norm_rope_backward;
}  // namespace cpu

}  // namespace wandistill
