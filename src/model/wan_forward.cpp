#include <algorithm>

#include "src/model/wan_pass.h"
#include "wandistill/error.h"

namespace wandistill {

WanTransformer::WanTransformer(const WanConfig& config, const Ops& ops)
    : config_(config), layout_(config), ops_(&ops) {}
WanTransformer::WanTransformer(const WanConfig& config, const OpsOf<bf16>& ops)
    : config_(config), layout_(config), ops_(&ops) {}

void WanTransformer::forward(const WanWeights& weights, const WanInput& input, WanActivations& activations,
                             float* velocity, const Queue& queue) const {
  prepare(input, activations, queue);
  if (weights.placed()) weights.placed()->begin_pass(queue);
  forward_prepared(weights, input, activations, velocity, queue);
}

void WanTransformer::prepare(const WanInput& input, WanActivations& activations, const Queue& queue) const {
  WD_REQUIRE(!input.split || (input.text->batch() == 1 && activations.keep_ == Keep::kNothing));
  const auto with = [&]<class Element>(const OpsOf<Element>* ops) {
    activations.state<Element>().prepare(config_, *ops, input, queue);
  };
  std::visit(with, ops_);
}

void WanTransformer::forward_prepared(const WanWeights& weights, const WanInput& input,
                                      WanActivations& activations, float* velocity,
                                      const Queue& queue) const {
  const auto with = [&]<class Element>(const OpsOf<Element>* ops) {
    Pass<Element>(*this, *ops, weights, input, activations.state<Element>(), queue).forward(velocity);
  };
  std::visit(with, ops_);
}

template <class Element>
void WanTransformer::Pass<Element>::forward(float* velocity) const {
  embed();
  for (int64_t i = 0; i < config.layers; ++i) {
    if (placed) placed->begin_block(i, queue);
    block_forward(i, s.x[size_t(i)], s.x[size_t(i) + 1]);
    if (placed) placed->end_block(i, queue);
  }

  // Head: norm modulated by its table plus the raw time embedding, projection, patches back to latents.
  ops.modulation_forward(B, 2 * C, C, w.scale_shift_table, s.temb, s.head_modulation, queue);
  ops.layer_norm_forward(modulated(2 * C), s.x.back(), s.head_modulation + C, s.head_modulation, s.head_norm,
                         s.head_mean, s.head_rstd, queue);
  const PatchShape patch = patches(config.out_channels);
  linear(N, patch.row(), C, s.head_norm, w.proj_out, s.head_rows + first * patch.row());
  gather(s.head_rows, patch.row());
  ops.unpatchify(patch, s.head_rows, velocity, queue);
}

/// Patch, time and text embeddings.
template <class Element>
void WanTransformer::Pass<Element>::embed() const {
  const PatchShape patch = patches(config.in_channels);
  ops.patchify(patch, input.latents, s.patches, queue);
  linear(N, C, patch.row(), s.patches + first * patch.row(), w.patch_embedding, s.x[0]);

  ops.timestep_embedding(B, config.freq_dim, input.timesteps, s.time_sin, queue);
  linear(B, C, config.freq_dim, s.time_sin, w.time_in, s.time_hidden);
  ops.silu_forward(B * C, s.time_hidden, s.time_act, queue);
  linear(B, C, C, s.time_act, w.time_out, s.temb);
  ops.silu_forward(B * C, s.temb, s.temb_act, queue);
  linear(B, 6 * C, C, s.temb_act, w.time_proj, s.time_proj);

  ops.linear_gelu_forward(T, C, config.text_dim, s.text, w.text_in.weight, w.text_in.bias, s.text_hidden,
                          s.text_act, queue);
  linear(T, C, C, s.text_act, w.text_out, s.context);
}

template <class Element>
void WanTransformer::Pass<Element>::norm1(const BlockActivations<Element>& a, const Element* x) const {
  ops.layer_norm_forward(modulated(6 * C), x, a.modulation + C, a.modulation, a.norm1, a.mean1, a.rstd1,
                         queue);
}

template <class Element>
void WanTransformer::Pass<Element>::norm2(const BlockActivations<Element>& a,
                                          const BlockTensors<const Element>& weights) const {
  ops.layer_norm_forward(affine(), a.x1, weights.norm2_weight, weights.norm2_bias, a.norm2, a.mean2, a.rstd2,
                         queue);
}

template <class Element>
void WanTransformer::Pass<Element>::norm3(const BlockActivations<Element>& a) const {
  ops.layer_norm_forward(modulated(6 * C), a.x2, a.modulation + 4 * C, a.modulation + 3 * C, a.norm3, a.mean3,
                         a.rstd3, queue);
}

/// Rows of the keys that are computed here.
template <class Element>
void WanTransformer::Pass<Element>::self_rope(const BlockActivations<Element>& a,
                                              const BlockTensors<const Element>& weights) const {
  const QkNormShape shape = qk_norm(N, L);
  const float* cos = s.cos.data() + first * config.head_dim / 2;
  const float* sin = s.sin.data() + first * config.head_dim / 2;
  ops.qk_norm_rope_forward(shape, a.q1, weights.self.norm_q, cos, sin, a.q1_rope, a.q1_rstd, queue);
  ops.qk_norm_rope_forward(shape, a.k1, weights.self.norm_k, cos, sin, a.k1_rope + first * C, a.k1_rstd,
                           queue);
}

template <class Element>
void WanTransformer::Pass<Element>::cross_norm(const BlockActivations<Element>& a,
                                               const BlockTensors<const Element>& weights) const {
  ops.qk_norm_rope_forward(qk_norm(N, 1), a.q2, weights.cross.norm_q, nullptr, nullptr, a.q2_norm, a.q2_rstd,
                           queue);
}

template <class Element>
void WanTransformer::Pass<Element>::self_residual(const BlockActivations<Element>& a,
                                                  const Element* x) const {
  ops.gated_residual_forward(B, L, C, 6 * C, x, a.out1, a.modulation + 2 * C, a.x1, queue);
}

/// One block: modulated self-attention, cross-attention to the text, modulated feed-forward; out may be x.
template <class Element>
void WanTransformer::Pass<Element>::block_forward(int64_t index, const Element* x, Element* out) const {
  const BlockTensors<const Element>& weights = w.blocks[size_t(index)];
  const BlockActivations<Element>& a = block(index);
  const int64_t F = config.ffn_dim;
  ops.modulation_forward(B, 6 * C, 6 * C, weights.scale_shift_table, s.time_proj, a.modulation, queue);

  norm1(a, x);
  linear(N, C, C, a.norm1, weights.self.q, a.q1);
  linear(N, C, C, a.norm1, weights.self.k, a.k1);
  linear(N, C, C, a.norm1, weights.self.v, a.v1 + first * C);
  self_rope(a, weights);
  gather(a.k1_rope, C);
  gather(a.v1, C);
  ops.attention_forward(self_attention(), a.q1_rope, a.k1_rope, a.v1, a.attention1, a.lse1, queue);
  linear(N, C, C, a.attention1, weights.self.out, a.out1);
  self_residual(a, x);

  norm2(a, weights);
  linear(N, C, C, a.norm2, weights.cross.q, a.q2);
  linear(T, C, C, s.context, weights.cross.k, a.k2);
  linear(T, C, C, s.context, weights.cross.v, a.v2);
  cross_norm(a, weights);
  ops.qk_norm_rope_forward(qk_norm(T, 1), a.k2, weights.cross.norm_k, nullptr, nullptr, a.k2_norm, a.k2_rstd,
                           queue);
  ops.attention_forward(cross_attention(), a.q2_norm, a.k2_norm, a.v2, a.attention2, a.lse2, queue);
  linear(N, C, C, a.attention2, weights.cross.out, a.out2);
  ops.gated_residual_forward(B, L, C, 0, a.x1, a.out2, nullptr, a.x2, queue);

  norm3(a);
  ops.linear_gelu_forward(N, F, C, a.norm3, weights.ffn_in.weight, weights.ffn_in.bias, a.ffn_raw, a.ffn_act,
                          queue);
  linear(N, C, F, a.ffn_act, weights.ffn_out, a.out3);
  ops.gated_residual_forward(B, L, C, 6 * C, a.x2, a.out3, a.modulation + 5 * C, out, queue);
}

template struct WanTransformer::Pass<float>;
template struct WanTransformer::Pass<bf16>;

}  // namespace wandistill
