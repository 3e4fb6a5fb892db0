// What one pass of the transformer holds: shared by its forward and backward halves.
#pragma once

#include <vector>

#include "wandistill/wan_transformer.h"

namespace wandistill {

/// One block's activations. N = B * L rows of tokens that are computed here, T rows of text, C = hidden, F =
/// ffn. Where a picture's tokens are split, L is this rank's share, and there are `tokens` rows of the keys
/// and values of self-attention (k1_rope, v1), patches and head_rows.
struct BlockActivations {
  float* modulation;             // [B, 6, C]
  float *norm1, *mean1, *rstd1;  // [N, C], [N], [N]
  float *q1, *k1, *v1, *q1_rope, *k1_rope, *q1_rstd, *k1_rstd;
  float *attention1, *lse1, *out1, *x1;  // [N, C], [B, H, L], [N, C], [N, C]
  float *norm2, *mean2, *rstd2;
  float *q2, *k2, *v2, *q2_norm, *k2_norm, *q2_rstd, *k2_rstd;  // q [N, C]; k, v [T, C]
  float *attention2, *lse2, *out2, *x2;
  float *norm3, *mean3, *rstd3;
  float *ffn_raw, *ffn_act, *out3;  // [N, F], [N, F], [N, C]
};

struct WanActivations::State {
  Keep keep;
  int64_t height = 0, width = 0;
  RotaryTable rope;
  Buffer<float> memory;
  // Of the embedders and the head:
  float *time_sin, *time_hidden, *time_act, *temb, *temb_act, *time_proj;  // [B, freq], [B, C] x 4, [B, 6 C]
  float *text_hidden, *text_act, *context;                                 // [T, C]
  float *patches, *head_modulation, *head_norm, *head_mean, *head_rstd, *head_rows;
  std::vector<float*> x;                 // the input of each block and, last, of the head: [N, C]
  std::vector<BlockActivations> blocks;  // one per layer, or a single one used by all
  // Scratch of the backward pass:
  float *dx, *dy, *dq, *dk, *dv, *dq2, *dk2, *dv2, *dffn, *dmodulation, *dtime_proj, *dcontext, *dtemb;

  /// Places every pointer for a pass of this size and returns the floats needed; base null: only counts.
  int64_t place(const WanConfig& c, int64_t B, int64_t tokens, int64_t L, int64_t T, float* base);
  /// Makes room for a pass of this size.
  void prepare(const WanConfig& c, const WanInput& input);
};

struct WanTransformer::Pass {
  const WanInput& input;
  WanActivations::State& s;
  const Queue& queue;
  int64_t B, L, N, T, C;  // samples, tokens of each computed here, B * L, text rows, hidden
  int64_t tokens, first;  // of each sample in all; the first that is computed here
  WanTensors<const float> w;
  WanTensors<float>* d = nullptr;  // gradients, in the backward pass
  std::vector<int64_t> self_offsets;

  Pass(const WanTransformer& model, const float* weights, const WanInput& in, WanActivations::State& state,
       const Queue& q);
  AttentionShape self_attention(const WanConfig& c) const;
  AttentionShape cross_attention(const WanConfig& c) const;
  /// Norm with modulation that lies `stride` floats apart per sample.
  LayerNormShape modulated(const WanConfig& c, int64_t stride) const {
    return {B, L, C, stride, 1.0f, c.eps};
  }
  LayerNormShape affine(const WanConfig& c) const { return {1, N, C, 0, 0.0f, c.eps}; }
  QkNormShape qk_norm(const WanConfig& c, int64_t rows, int64_t positions) const {
    return {rows, c.heads, c.head_dim, positions, c.eps};
  }
  BlockActivations& block(int64_t index) const {
    return s.blocks[size_t(index) < s.blocks.size() ? size_t(index) : 0];
  }
};

}  // namespace wandistill
