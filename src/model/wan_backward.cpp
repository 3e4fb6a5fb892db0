#include <algorithm>

#include "src/model/wan_pass.h"
#include "wandistill/error.h"

namespace wandistill {

void WanTransformer::backward(const float* weights, const WanInput& input, WanActivations& activations,
                              const float* dvelocity, float* gradients, const Queue& queue,
                              const GradientsReady& ready) const {
  WanActivations::State& s = *activations.state_;
  WD_REQUIRE(s.keep != Keep::kNothing);
  Pass pass(*this, weights, input, s, queue);
  WanTensors<float> d(config_, layout_, gradients);
  pass.d = &d;
  auto done = [&, group = size_t(0)]() mutable {
    if (ready) ready(group);
    ++group;
  };
  std::fill(s.dtime_proj, s.dtime_proj + pass.B * 6 * pass.C, 0.0f);
  std::fill(s.dcontext, s.dcontext + pass.T * pass.C, 0.0f);
  head_backward(pass, dvelocity, s.dx);
  done();
  for (int64_t i = config_.layers - 1; i >= 0; --i) {
    // With gradient checkpointing the block's activations are computed again; its output is not needed.
    if (s.keep == Keep::kBlockInputs) block_forward(pass, i, s.x[size_t(i)], s.dy);
    block_backward(pass, i, s.x[size_t(i)], s.dx);
    done();
  }
  embed_backward(pass, s.dx);
  done();
}

void WanTransformer::head_backward(const Pass& p, const float* dvelocity, float* dx) const {
  const WanActivations::State& s = p.s;
  const int64_t B = p.B, C = p.C;
  const PatchShape patch{
      B, config_.out_channels, p.input.height, p.input.width, config_.patch_height, config_.patch_width};
  ops_.unpatchify_backward(patch, dvelocity, s.dffn, p.queue);
  ops_.linear_backward(p.N, patch.row(), C, s.head_norm, p.w.proj_out.weight, s.dffn, s.dy, false,
                       p.d->proj_out.weight, p.d->proj_out.bias, p.queue);
  std::fill(dx, dx + p.N * C, 0.0f);
  std::fill(s.dmodulation, s.dmodulation + B * 2 * C, 0.0f);
  ops_.layer_norm_backward(p.modulated(config_, 2 * C), s.x.back(), s.head_modulation + C, s.head_mean,
                           s.head_rstd, s.dy, dx, s.dmodulation + C, s.dmodulation, p.queue);
  for (int64_t b = 0; b < B; ++b)
    for (int64_t c = 0; c < C; ++c) {
      const float dshift = s.dmodulation[b * 2 * C + c], dscale = s.dmodulation[b * 2 * C + C + c];
      p.d->scale_shift_table[c] += dshift;
      p.d->scale_shift_table[C + c] += dscale;
      s.dtemb[b * C + c] = dshift + dscale;
    }
}

/// dx: in, the gradient of the block's output; out, that of its input x.
void WanTransformer::block_backward(const Pass& p, int64_t index, const float* x, float* dx) const {
  const BlockTensors<const float>& w = p.w.blocks[size_t(index)];
  const BlockTensors<float>& d = p.d->blocks[size_t(index)];
  const BlockActivations& a = p.block(index);
  const WanActivations::State& s = p.s;
  const int64_t B = p.B, L = p.L, N = p.N, T = p.T, C = p.C, F = config_.ffn_dim;
  const Queue& queue = p.queue;
  const auto linear = [&](int64_t rows, int64_t n, int64_t k, const float* in,
                          const LinearTensors<const float>& weight, const float* dy, float* din,
                          bool accumulate, const LinearTensors<float>& dweight) {
    ops_.linear_backward(rows, n, k, in, weight.weight, dy, din, accumulate, dweight.weight, dweight.bias,
                         queue);
  };
  const float* modulation = a.modulation;
  float* dmodulation = s.dmodulation;
  std::fill(dmodulation, dmodulation + B * 6 * C, 0.0f);

  // Feed-forward.
  ops_.gated_residual_backward(B, L, C, 6 * C, a.out3, modulation + 5 * C, dx, s.dy, dmodulation + 5 * C,
                               queue);
  linear(N, C, F, a.ffn_act, w.ffn_out, s.dy, s.dffn, false, d.ffn_out);
  ops_.gelu_backward(N * F, a.ffn_raw, s.dffn, s.dffn, queue);
  linear(N, F, C, a.norm3, w.ffn_in, s.dffn, s.dy, false, d.ffn_in);
  ops_.layer_norm_backward(p.modulated(config_, 6 * C), a.x2, modulation + 4 * C, a.mean3, a.rstd3, s.dy, dx,
                           dmodulation + 4 * C, dmodulation + 3 * C, queue);

  // Cross-attention; the residual's gradient is dx itself.
  linear(N, C, C, a.attention2, w.cross.out, dx, s.dy, false, d.cross.out);
  ops_.attention_backward(p.cross_attention(config_), a.q2_norm, a.k2_norm, a.v2, a.attention2, a.lse2, s.dy,
                          s.dq2, s.dk2, s.dv2, queue);
  ops_.qk_norm_rope_backward(p.qk_norm(config_, N, 1), a.q2, w.cross.norm_q, nullptr, nullptr, a.q2_rstd,
                             s.dq2, s.dq2, d.cross.norm_q, queue);
  ops_.qk_norm_rope_backward(p.qk_norm(config_, T, 1), a.k2, w.cross.norm_k, nullptr, nullptr, a.k2_rstd,
                             s.dk2, s.dk2, d.cross.norm_k, queue);
  linear(N, C, C, a.norm2, w.cross.q, s.dq2, s.dy, false, d.cross.q);
  linear(T, C, C, s.context, w.cross.k, s.dk2, s.dcontext, true, d.cross.k);
  linear(T, C, C, s.context, w.cross.v, s.dv2, s.dcontext, true, d.cross.v);
  ops_.layer_norm_backward(p.affine(config_), a.x1, w.norm2_weight, a.mean2, a.rstd2, s.dy, dx,
                           d.norm2_weight, d.norm2_bias, queue);

  // Self-attention.
  ops_.gated_residual_backward(B, L, C, 6 * C, a.out1, modulation + 2 * C, dx, s.dy, dmodulation + 2 * C,
                               queue);
  linear(N, C, C, a.attention1, w.self.out, s.dy, s.dq2, false, d.self.out);
  ops_.attention_backward(p.self_attention(config_), a.q1_rope, a.k1_rope, a.v1, a.attention1, a.lse1, s.dq2,
                          s.dq, s.dk, s.dv, queue);
  const QkNormShape self_norm = p.qk_norm(config_, N, L);
  const float* cos = s.rope.cos.data();
  const float* sin = s.rope.sin.data();
  ops_.qk_norm_rope_backward(self_norm, a.q1, w.self.norm_q, cos, sin, a.q1_rstd, s.dq, s.dq, d.self.norm_q,
                             queue);
  ops_.qk_norm_rope_backward(self_norm, a.k1, w.self.norm_k, cos, sin, a.k1_rstd, s.dk, s.dk, d.self.norm_k,
                             queue);
  linear(N, C, C, a.norm1, w.self.q, s.dq, s.dy, false, d.self.q);
  linear(N, C, C, a.norm1, w.self.k, s.dk, s.dy, true, d.self.k);
  linear(N, C, C, a.norm1, w.self.v, s.dv, s.dy, true, d.self.v);
  ops_.layer_norm_backward(p.modulated(config_, 6 * C), x, modulation + C, a.mean1, a.rstd1, s.dy, dx,
                           dmodulation + C, dmodulation, queue);

  for (int64_t b = 0; b < B; ++b)
    for (int64_t i = 0; i < 6 * C; ++i) {
      d.scale_shift_table[i] += dmodulation[b * 6 * C + i];
      s.dtime_proj[b * 6 * C + i] += dmodulation[b * 6 * C + i];
    }
}

void WanTransformer::embed_backward(const Pass& p, const float* dx) const {
  const WanActivations::State& s = p.s;
  const int64_t B = p.B, T = p.T, C = p.C;
  const int64_t patch_row = config_.in_channels * config_.patch_height * config_.patch_width;
  ops_.linear_backward(p.N, C, patch_row, s.patches, p.w.patch_embedding.weight, dx, nullptr, false,
                       p.d->patch_embedding.weight, p.d->patch_embedding.bias, p.queue);

  // Text: dk2 and dv2 are free by now and hold [T, C].
  ops_.linear_backward(T, C, C, s.text_act, p.w.text_out.weight, s.dcontext, s.dk2, false,
                       p.d->text_out.weight, p.d->text_out.bias, p.queue);
  ops_.gelu_backward(T * C, s.text_hidden, s.dk2, s.dk2, p.queue);
  ops_.linear_backward(T, C, config_.text_dim, p.input.text->rows.data(), p.w.text_in.weight, s.dk2, nullptr,
                       false, p.d->text_in.weight, p.d->text_in.bias, p.queue);

  // Time: dtemb holds the head's share already; dmodulation is free and holds [B, C].
  float* d = s.dmodulation;
  ops_.linear_backward(B, 6 * C, C, s.temb_act, p.w.time_proj.weight, s.dtime_proj, d, false,
                       p.d->time_proj.weight, p.d->time_proj.bias, p.queue);
  ops_.silu_backward(B * C, s.temb, d, d, p.queue);
  for (int64_t i = 0; i < B * C; ++i) s.dtemb[i] += d[i];
  ops_.linear_backward(B, C, C, s.time_act, p.w.time_out.weight, s.dtemb, d, false, p.d->time_out.weight,
                       p.d->time_out.bias, p.queue);
  ops_.silu_backward(B * C, s.time_hidden, d, d, p.queue);
  ops_.linear_backward(B, C, config_.freq_dim, s.time_sin, p.w.time_in.weight, d, nullptr, false,
                       p.d->time_in.weight, p.d->time_in.bias, p.queue);
}

}  // namespace wandistill
