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
template <class T>
using LayerNormForward = void(const LayerNormShape& shape, const T* x, const T* scale, const T* shift, T* y,
                              float* mean, float* rstd, const Queue& queue);
/// dx += ...; dscale, dshift (laid out as scale and shift) += sums over the tokens (and the batch, if stride
/// is 0).
template <class T>
using LayerNormBackward = void(const LayerNormShape& shape, const T* x, const T* scale, const float* mean,
                               const float* rstd, const T* dy, T* dx, float* dscale, float* dshift,
                               const Queue& queue);

/// out [B, L, C] = x + gate y, with one gate [C] per sample, `stride` floats apart; a null gate is 1.
template <class T>
using GatedResidualForward = void(int64_t batch, int64_t tokens, int64_t channels, int64_t stride, const T* x,
                                  const T* y, const T* gate, T* out, const Queue& queue);
/// dy = gate dout (overwritten); dgate += sum over tokens of y dout. (The gradient of x is dout itself.)
template <class T>
using GatedResidualBackward = void(int64_t batch, int64_t tokens, int64_t channels, int64_t stride,
                                   const T* y, const T* gate, const T* dout, T* dy, float* dgate,
                                   const Queue& queue);

namespace ref {
LayerNormForward<float> layer_norm_forward;
LayerNormBackward<float> layer_norm_backward;
GatedResidualForward<float> gated_residual_forward;
GatedResidualBackward<float> gated_residual_backward;
}  // namespace ref
namespace cpu {
LayerNormForward<float> layer_norm_forward;
LayerNormBackward<float> layer_norm_backward;
GatedResidualForward<float> gated_residual_forward;
GatedResidualBackward<float> gated_residual_backward;
}  // namespace cpu

}  // namespace wandistill
