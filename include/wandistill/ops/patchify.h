// Latents to patch rows and back, and the sinusoidal timestep embedding: the transformer's two ends.
#pragma once

#include <cstdint>

#include "wandistill/queue.h"

namespace wandistill {

/// Latents [B, C, h, w] cut into patches of p x q latents: [B, L, C * p * q] with L = (h / p) * (w / q), row
/// by row.
struct PatchShape {
  int64_t batch, channels, height, width, patch_height, patch_width;
  constexpr int64_t tokens() const { return (height / patch_height) * (width / patch_width); }
  constexpr int64_t row() const { return channels * patch_height * patch_width; }
};

/// rows = patches of the latents, each row in the order (c, p, q) that the patch embedding's weight has.
template <class T>
using Patchify = void(const PatchShape& shape, const float* latents, T* rows, const Queue& queue);
/// latents = rows put back, each row in the order (p, q, c) that proj_out writes.
template <class T>
using Unpatchify = void(const PatchShape& shape, const T* rows, float* latents, const Queue& queue);
/// Backward of Unpatchify: rows (p, q, c) gathered from the gradient of the latents.
template <class T>
using UnpatchifyBackward = void(const PatchShape& shape, const float* dlatents, T* drows, const Queue& queue);

/// out [B, dim] = cos then sin of t * 10000^(-i / (dim / 2)), i < dim / 2 (diffusers' Timesteps with
/// flip_sin_to_cos, downscale_freq_shift 0; angles formed in float32 as there).
template <class T>
using TimestepEmbedding = void(int64_t batch, int64_t dim, const float* timesteps, T* out,
                               const Queue& queue);

namespace ref {
Patchify<float> patchify;
Unpatchify<float> unpatchify;
UnpatchifyBackward<float> unpatchify_backward;
TimestepEmbedding<float> timestep_embedding;
}  // namespace ref

}  // namespace wandistill
