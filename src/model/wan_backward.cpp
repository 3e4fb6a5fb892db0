#include "src/model/wan_pass.h"
#include "wandistill/error.h"

namespace wandistill {

void WanTransformer::backward(const WanWeights& weights, const WanInput& input, WanActivations& activations,
                              const float* dvelocity, float* gradients, bool accumulate, const Queue& queue,
                              const GradientsReady& ready) const {
  WD_REQUIRE(activations.keep_ != Keep::kNothing);
  const auto with = [&]<class Element>(const OpsOf<Element>* ops) {
    Pass<Element>(*this, *ops, weights, input, activations.state<Element>(), queue)
        .backward(dvelocity, gradients, accumulate, ready);
  };
  std::visit(with, ops_);
}

template <class Element>
void WanTransformer::Pass<Element>::backward(const float* dvelocity, float* gradients, bool accumulate,
                                             const GradientsReady& ready) {
  accumulate_ = accumulate || start_from_zero(gradients);
  const WanTensors<float> d(config, layout, gradients);
  auto done = [&, group = size_t(0)]() mutable {
    if (ready) ready(group);
    ++group;
  };
  fill_zero(queue, s.dtime_proj, B * 6 * C);
  fill_zero(queue, s.dcontext, T * C);
  head_backward(dvelocity, s.dx, d);
  done();
  for (int64_t i = config.layers - 1; i >= 0; --i) {
    // With gradient checkpointing the block's activations are computed again; its output is not needed.
    if (s.keep == Keep::kBlockInputs) block_forward(i, s.x[size_t(i)], s.dy);
    block_backward(i, s.x[size_t(i)], s.dx, d.blocks[size_t(i)]);
    done();
  }
  embed_backward(s.dx, d);
  done();
}

/// True if all gradients are zeros now, so that all may be added to them; else those of linear layers are
/// left, to be written as they are computed: on the host that saves their way to main memory. A device zeroes
/// everything at once in less time than a fill for each of the small tensors takes to be launched.
template <class Element>
bool WanTransformer::Pass<Element>::start_from_zero(float* gradients) const {
  if (queue.stream) {
    fill_zero(queue, gradients, layout.total());
    return true;
  }
  for (const ParameterInfo& p : layout.parameters())
    if (p.shape.size() == 1 || !p.name.ends_with(".weight")) fill_zero(queue, gradients + p.offset, p.size);
  return false;
}

template <class Element>
void WanTransformer::Pass<Element>::head_backward(const float* dvelocity, Element* dx,
                                                  const WanTensors<float>& d) const {
  const PatchShape patch = patches(config.out_channels);
  ops.unpatchify_backward(patch, dvelocity, s.dffn, queue);
  linear_backward(N, patch.row(), C, s.head_norm, w.proj_out, s.dffn, s.dy, false, d.proj_out);
  fill_zero(queue, dx, N * C);
  fill_zero(queue, s.dmodulation, B * 2 * C);
  ops.layer_norm_backward(modulated(2 * C), s.x.back(), s.head_modulation + C, s.head_mean, s.head_rstd, s.dy,
                          dx, s.dmodulation + C, s.dmodulation, queue);
  fill_zero(queue, s.dtemb, B * C);
  ops.modulation_backward(B, 2 * C, C, s.dmodulation, d.scale_shift_table, s.dtemb, queue);
}

/// dx: in, the gradient of the block's output; out, that of its input x.
template <class Element>
void WanTransformer::Pass<Element>::block_backward(int64_t index, const Element* x, Element* dx,
                                                   const BlockTensors<float>& d) const {
  const BlockTensors<const Element>& weights = w.blocks[size_t(index)];
  const BlockActivations<Element>& a = block(index);
  const int64_t F = config.ffn_dim;
  const Element* modulation = a.modulation;
  float* dmodulation = s.dmodulation;
  fill_zero(queue, dmodulation, B * 6 * C);

  // Feed-forward.
  ops.gated_residual_backward(B, L, C, 6 * C, a.out3, modulation + 5 * C, dx, s.dy, dmodulation + 5 * C,
                              queue);
  ops.gelu_forward(N * F, a.ffn_raw, a.ffn_act, queue);
  linear_backward(N, C, F, a.ffn_act, weights.ffn_out, s.dy, s.dffn, false, d.ffn_out);
  ops.gelu_backward(N * F, a.ffn_raw, s.dffn, s.dffn, queue);
  norm3(a);
  linear_backward(N, F, C, a.norm3, weights.ffn_in, s.dffn, s.dy, false, d.ffn_in);
  ops.layer_norm_backward(modulated(6 * C), a.x2, modulation + 4 * C, a.mean3, a.rstd3, s.dy, dx,
                          dmodulation + 4 * C, dmodulation + 3 * C, queue);

  // Cross-attention; the residual's gradient is dx itself.
  linear_backward(N, C, C, a.attention2, weights.cross.out, dx, s.dy, false, d.cross.out);
  cross_norm(a, weights);
  ops.attention_backward(cross_attention(), a.q2_norm, a.k2_norm, a.v2, a.attention2, a.lse2, s.dy, s.dq2,
                         s.dk2, s.dv2, queue);
  ops.qk_norm_rope_backward(qk_norm(N, 1), a.q2, weights.cross.norm_q, nullptr, nullptr, a.q2_rstd, s.dq2,
                            s.dq2, d.cross.norm_q, queue);
  ops.qk_norm_rope_backward(qk_norm(T, 1), a.k2, weights.cross.norm_k, nullptr, nullptr, a.k2_rstd, s.dk2,
                            s.dk2, d.cross.norm_k, queue);
  self_residual(a, x);
  norm2(a, weights);
  linear_backward(N, C, C, a.norm2, weights.cross.q, s.dq2, s.dy, false, d.cross.q);
  linear_backward(T, C, C, s.context, weights.cross.k, s.dk2, s.dcontext, true, d.cross.k);
  linear_backward(T, C, C, s.context, weights.cross.v, s.dv2, s.dcontext, true, d.cross.v);
  ops.layer_norm_backward(affine(), a.x1, weights.norm2_weight, a.mean2, a.rstd2, s.dy, dx, d.norm2_weight,
                          d.norm2_bias, queue);

  // Self-attention.
  ops.gated_residual_backward(B, L, C, 6 * C, a.out1, modulation + 2 * C, dx, s.dy, dmodulation + 2 * C,
                              queue);
  linear_backward(N, C, C, a.attention1, weights.self.out, s.dy, s.dq2, false, d.self.out);
  self_rope(a, weights);
  ops.attention_backward(self_attention(), a.q1_rope, a.k1_rope, a.v1, a.attention1, a.lse1, s.dq2, s.dq,
                         s.dk, s.dv, queue);
  const QkNormShape self_norm = qk_norm(N, L);
  const float* cos = s.cos.data();
  const float* sin = s.sin.data();
  ops.qk_norm_rope_backward(self_norm, a.q1, weights.self.norm_q, cos, sin, a.q1_rstd, s.dq, s.dq,
                            d.self.norm_q, queue);
  ops.qk_norm_rope_backward(self_norm, a.k1, weights.self.norm_k, cos, sin, a.k1_rstd, s.dk, s.dk,
                            d.self.norm_k, queue);
  norm1(a, x);
  linear_backward(N, C, C, a.norm1, weights.self.q, s.dq, s.dy, false, d.self.q);
  linear_backward(N, C, C, a.norm1, weights.self.k, s.dk, s.dy, true, d.self.k);
  linear_backward(N, C, C, a.norm1, weights.self.v, s.dv, s.dy, true, d.self.v);
  ops.layer_norm_backward(modulated(6 * C), x, modulation + C, a.mean1, a.rstd1, s.dy, dx, dmodulation + C,
                          dmodulation, queue);

  ops.modulation_backward(B, 6 * C, 6 * C, dmodulation, d.scale_shift_table, s.dtime_proj, queue);
}

template <class Element>
void WanTransformer::Pass<Element>::embed_backward(const Element* dx, const WanTensors<float>& d) const {
  const int64_t patch_row = patches(config.in_channels).row();
  linear_backward(N, C, patch_row, s.patches, w.patch_embedding, dx, nullptr, false, d.patch_embedding);

  // Text: dk2 is free by now and holds [T, C].
  linear_backward(T, C, C, s.text_act, w.text_out, s.dcontext, s.dk2, false, d.text_out);
  ops.gelu_backward(T * C, s.text_hidden, s.dk2, s.dk2, queue);
  linear_backward(T, C, config.text_dim, s.text, w.text_in, s.dk2, nullptr, false, d.text_in);

  // Time: dtemb holds the head's share already; dy and dq are free and hold [B, C].
  Element *dtemb = s.dq, *dtime = s.dy;
  ops.narrow(B * 6 * C, s.dtime_proj, s.dtime_proj_narrow, queue);
  ops.narrow(B * C, s.dtemb, s.dtemb_narrow, queue);
  linear_backward(B, 6 * C, C, s.temb_act, w.time_proj, s.dtime_proj_narrow, dtime, false, d.time_proj);
  ops.silu_backward(B * C, s.temb, dtime, dtime, queue);
  ops.gated_residual_forward(1, B, C, 0, s.dtemb_narrow, dtime, nullptr, dtemb, queue);
  linear_backward(B, C, C, s.time_act, w.time_out, dtemb, dtime, false, d.time_out);
  ops.silu_backward(B * C, s.time_hidden, dtime, dtime, queue);
  linear_backward(B, C, config.freq_dim, s.time_sin, w.time_in, dtime, nullptr, false, d.time_in);
}

template struct WanTransformer::Pass<float>;
template struct WanTransformer::Pass<bf16>;

}  // namespace wandistill
