// What one pass of the transformer holds: shared by its forward and backward halves.
#pragma once

#include <vector>

#include "wandistill/op_memory.h"
#include "wandistill/wan_transformer.h"

namespace wandistill {

/// One block's activations. N = B * L rows of tokens that are computed here, T rows of text, C = hidden, F =
/// ffn. Where a picture's tokens are split, L is this rank's share, and there are `tokens` rows of the keys
/// and values of self-attention (k1_rope, v1), patches and head_rows.
///
/// What takes no product to compute is not kept: all blocks share its memory, and so do those of it that are
/// not needed at the same time: the three norms, and q1_rope, q2_norm and out2. Backward computes it again.
template <class Element>
struct BlockActivations {
  Element* modulation;                        // [B, 6, C]
  Element* norm1;                             // [N, C], shared
  Element *q1, *k1, *v1, *q1_rope, *k1_rope;  // the latter two shared
  Element *attention1, *out1, *x1;            // x1 shared
  Element* norm2;                             // shared
  Element *q2, *k2, *v2, *q2_norm, *k2_norm;  // q [N, C], q2_norm shared; k, v [T, C]
  Element *attention2, *out2, *x2;            // out2 shared
  Element* norm3;                             // shared
  Element *ffn_raw, *ffn_act, *out3;          // [N, F], [N, F] shared, [N, C]
  // Of the norms, [N], k2's [T]; of the attentions, [B, H, L]:
  float *mean1, *rstd1, *q1_rstd, *k1_rstd, *mean2, *rstd2, *q2_rstd, *k2_rstd, *mean3, *rstd3;
  float *lse1, *lse2;
};

struct WanActivations::State {
  virtual ~State() = default;
};

template <class Element>
struct WanActivations::StateOf : State {
  explicit StateOf(Keep kept) : keep(kept) {}

  Keep keep;
  int64_t height = 0, width = 0;
  OpBuffer<float> cos, sin;  // RotaryTable's
  OpBuffer<char> memory;     // of all that follows
  // The text and the keys' places, as the ops need them:
  const Element* text;                         // [T, Dt]
  const int64_t *text_offsets, *self_offsets;  // [B + 1]
  const float* text_bias;                      // [B]
  // Of the embedders and the head:
  Element *time_sin, *time_hidden, *time_act, *temb, *temb_act,
      *time_proj;                             // [B, freq], [B, C] x 4, [B, 6 C]
  Element *text_hidden, *text_act, *context;  // [T, C]
  Element *patches, *head_modulation, *head_norm, *head_rows;
  float *head_mean, *head_rstd;
  std::vector<Element*> x;                        // the input of each block and, last, of the head: [N, C]
  std::vector<BlockActivations<Element>> blocks;  // one per layer, or a single one used by all
  // Scratch of the backward pass:
  Element *dx, *dy, *dq, *dk, *dv, *dq2, *dk2, *dv2, *dffn, *dcontext;
  float *dmodulation, *dtime_proj, *dtemb;  // [B, 6 C], [B, 6 C], [B, C]
  Element *dtime_proj_narrow, *dtemb_narrow;

  /// Places every pointer for a pass of this size and returns the bytes needed; base null: only counts.
  int64_t place(const WanConfig& c, int64_t B, int64_t tokens, int64_t L, int64_t T, char* base);
  /// Makes room for a pass of this size, and brings what the host knows of it to where the ops work.
  void prepare(const WanConfig& c, const OpsOf<Element>& ops, const WanInput& input, const Queue& queue);

 private:
  Element* text_rows_;
  int64_t *text_offsets_, *self_offsets_;
  float *text_bias_, *text_floats_;
};

template <class Element>
WanActivations::StateOf<Element>& WanActivations::state() {
  auto* made = dynamic_cast<StateOf<Element>*>(state_.get());
  if (!made)
    state_ = std::make_unique<StateOf<Element>>(keep_), made = static_cast<StateOf<Element>*>(state_.get());
  return *made;
}

template <class Element>
struct WanTransformer::Pass {
  const WanConfig& config;
  const ParameterLayout& layout;
  const OpsOf<Element>& ops;
  const WanInput& input;
  WanActivations::StateOf<Element>& s;
  const Queue queue;      // with the weights' conversions
  int64_t B, L, N, T, C;  // samples, tokens of each computed here, B * L, text rows, hidden
  int64_t tokens, first;  // of each sample in all; the first that is computed here
  PlacedWeights* placed;  // or null
  WanTensors<const Element> w;

  Pass(const WanTransformer& model, const OpsOf<Element>& ops, const WanWeights& weights,
       const WanInput& input, WanActivations::StateOf<Element>& state, const Queue& queue);

  void forward(float* velocity) const;
  void backward(const float* dvelocity, float* gradients, bool accumulate, const GradientsReady& ready);

 private:
  void embed() const;
  bool start_from_zero(float* gradients) const;
  void block_forward(int64_t index, const Element* x, Element* out) const;
  // Parts of it that backward needs again.
  void norm1(const BlockActivations<Element>& a, const Element* x) const;
  void norm2(const BlockActivations<Element>& a, const BlockTensors<const Element>& weights) const;
  void norm3(const BlockActivations<Element>& a) const;
  void self_rope(const BlockActivations<Element>& a, const BlockTensors<const Element>& weights) const;
  void cross_norm(const BlockActivations<Element>& a, const BlockTensors<const Element>& weights) const;
  void self_residual(const BlockActivations<Element>& a, const Element* x) const;
  void block_backward(int64_t index, const Element* x, Element* dx, const BlockTensors<float>& d) const;
  void head_backward(const float* dvelocity, Element* dx, const WanTensors<float>& d) const;
  void embed_backward(const Element* dx, const WanTensors<float>& d) const;

  void linear(int64_t rows, int64_t n, int64_t k, const Element* in,
              const LinearTensors<const Element>& layer, Element* out) const {
    ops.linear_forward(rows, n, k, in, layer.weight, layer.bias, out, queue);
  }
  void linear_backward(int64_t rows, int64_t n, int64_t k, const Element* in,
                       const LinearTensors<const Element>& layer, const Element* dout, Element* din,
                       bool accumulate, const LinearTensors<float>& d) const {
    ops.linear_backward(rows, n, k, in, layer.weight, dout, din, accumulate, d.weight, accumulate_, d.bias,
                        queue);
  }
  /// Where a picture's tokens are split: rows [tokens, width] with this rank's share get the others'.
  void gather(Element* rows, int64_t width) const;
  AttentionShape self_attention() const;
  AttentionShape cross_attention() const;
  PatchShape patches(int64_t channels) const {
    return {B, channels, input.height, input.width, config.patch_height, config.patch_width};
  }
  /// Norm with modulation that lies `stride` elements apart per sample.
  LayerNormShape modulated(int64_t stride) const { return {B, L, C, stride, 1.0f, config.eps}; }
  LayerNormShape affine() const { return {1, N, C, 0, 0.0f, config.eps}; }
  QkNormShape qk_norm(int64_t rows, int64_t positions) const {
    return {rows, config.heads, config.head_dim, positions, config.eps};
  }
  BlockActivations<Element>& block(int64_t index) const {
    return s.blocks[size_t(index) < s.blocks.size() ? size_t(index) : 0];
  }

  bool accumulate_ = true;  // linear layers add to the gradients that are there
};

}  // namespace wandistill
