// The decoder behind its middle block, cut into strips of rows: which rows every layer has to work on, and
// the memory that takes.
#pragma once

#include <cstdint>
#include <vector>

#include "src/model/wan_vae_weights.h"

namespace wandistill {

/// Rows [begin, end) of the picture, at the resolution of the layer in question.
struct VaeRows {
  int64_t begin, end;
  int64_t size() const { return end - begin; }
};

/// A residual block, or (block null) a convolution: an upsampler, or as the last stage conv_out behind its
/// norm.
struct VaeStage {
  const VaeResidualBlock* block;
  const VaeConv* conv;
  VaeRows rows;  // of its input: those from which the remaining stages get the strip's pixels right
};

/// The stages behind the middle block for the pixels of the latent rows `rows` of h: trunk_stages up to the
/// first upsampler, strip_stages from there on. Where a strip ends inside the picture a convolution that
/// takes the rows beyond for zeros spoils as many rows as it reaches, so what goes into a stage is wider than
/// what is kept of its output, by that much.
std::vector<VaeStage> trunk_stages(const WanVaeWeights& weights, int64_t h, VaeRows rows);
std::vector<VaeStage> strip_stages(const WanVaeWeights& weights, int64_t h, VaeRows rows);

/// Elements of a pass's buffers (VaePass), and bytes of its kernels' scratch on the host.
struct VaeMemory {
  int64_t stream = 0, inner = 0, scratch = 0;
  int64_t bytes(int64_t element_bytes) const { return (2 * stream + inner) * element_bytes + scratch; }
};
/// For the layers up to the first upsampler, on latents of h x w.
VaeMemory trunk_memory(const WanVaeWeights& weights, int64_t h, int64_t w, int threads);
/// For the stages behind, for any `strip` latent rows of the picture.
VaeMemory strip_memory(const WanVaeWeights& weights, int64_t h, int64_t w, int64_t strip, int threads);

/// WanVaeDecoder's functions of these names, from the layers' sizes; element: bytes of what is kept.
int64_t decode_peak_bytes(const WanVaeWeights& weights, int64_t h, int64_t w, int64_t rows, int64_t strip,
                          int threads, int64_t element);
int64_t strip_rows(const WanVaeWeights& weights, int64_t h, int64_t w, int64_t bytes, int threads,
                   int64_t element);

}  // namespace wandistill
