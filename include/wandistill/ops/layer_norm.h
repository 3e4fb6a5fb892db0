// Layer norm with an affine map or AdaLN modulation behind it, and the gated residual in front of the next
// one.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// x, y [B, L, C]. y = (x - mean) / sqrt(var + eps) * (offset + scale) + shift, statistics over C.
/// Modulation (AdaLN, Peebles & Xie 2022): offset 1, scale and shift differ per sample, `stride` floats
/// apart. Affine norm: offset 0, scale = weight, shift = bias, stride 0.
struct LayerNormShape {
  int64_t batch, tokens, channels;
  int64_t stride;
  float offset;
  float eps;
};

/// Writes y, mean [B, L] and rstd [B, L].
using LayerNormForward = void(const LayerNormShape& shape, const float* x, const float* scale,
                              const float* shift, float* y, float* mean, float* rstd, const Queue& queue);
/// dx += ...; dscale, dshift (laid out as scale and shift) += sums over the tokens (and the batch, if stride
/// is 0).
using LayerNormBackward = void(const LayerNormShape& shape, const float* x, const float* scale,
                               const float* mean, const float* rstd, const float* dy, float* dx,
                               float* dscale, float* dshift, const Queue& queue);

/// out [B, L, C] = x + gate y, with one gate [C] per sample, `stride` floats apart; a null gate is 1.
using GatedResidualForward = void(int64_t batch, int64_t tokens, int64_t channels, int64_t stride,
                                  const float* x, const float* y, const float* gate, float* out,
                                  const Queue& queue);
/// dy = gate dout (overwritten); dgate += sum over tokens of y dout. (The gradient of x is dout itself.)
using GatedResidualBackward = void(int64_t batch, int64_t tokens, int64_t channels, int64_t stride,
                                   const float* y, const float* gate, const float* dout, float* dy,
                                   float* dgate, const Queue& queue);

namespace ref {
LayerNormForward layer_norm_forward;
LayerNormBackward layer_norm_backward;
GatedResidualForward gated_residual_forward;
GatedResidualBackward gated_residual_backward;
}  // namespace ref
namespace cpu {
LayerNormForward layer_norm_forward;
LayerNormBackward layer_norm_backward;
GatedResidualForward gated_residual_forward;
GatedResidualBackward gated_residual_backward;
}  // namespace cpu
namespace cuda {
LayerNormForward layer_norm_forward;
}  // namespace cuda
namespace simt {
LayerNormForward layer_norm_forward;
}  // namespace simt

}  // namespace wandistill
