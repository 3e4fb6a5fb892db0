#include <algorithm>

#include "src/model/wan_pass.h"
#include "wandistill/error.h"

namespace wandistill {

WanTransformer::WanTransformer(const WanConfig& config, const Ops& ops)
    : config_(config), layout_(config), ops_(ops) {}

void WanTransformer::forward(const float* weights, const WanInput& input, WanActivations& activations,
                             float* velocity, const Queue& queue) const {
  WD_REQUIRE(!input.split || (input.text->batch() == 1 && activations.state_->keep == Keep::kNothing));
  activations.state_->prepare(config_, input);
  const Pass pass(*this, weights, input, *activations.state_, queue);
  WanActivations::State& s = pass.s;
  embed(pass);
  for (int64_t i = 0; i < config_.layers; ++i) block_forward(pass, i, s.x[size_t(i)], s.x[size_t(i) + 1]);

  // Head: norm modulated by its table plus the raw time embedding, projection, patches back to latents.
  const int64_t C = pass.C;
  for (int64_t b = 0; b < pass.B; ++b)
    for (int64_t i = 0; i < 2 * C; ++i)
      s.head_modulation[b * 2 * C + i] = pass.w.scale_shift_table[i] + s.temb[b * C + i % C];
  ops_.layer_norm_forward(pass.modulated(config_, 2 * C), s.x.back(), s.head_modulation + C,
                          s.head_modulation, s.head_norm, s.head_mean, s.head_rstd, queue);
  const PatchShape patch{pass.B,      config_.out_channels, input.height,
                         input.width, config_.patch_height, config_.patch_width};
  ops_.linear_forward(pass.N, patch.row(), C, s.head_norm, pass.w.proj_out.weight, pass.w.proj_out.bias,
                      s.head_rows + pass.first * patch.row(), queue);
  if (input.split) input.split->gather(s.head_rows, patch.row());
  ops_.unpatchify(patch, s.head_rows, velocity, queue);
}

/// Patch, time and text embeddings.
void WanTransformer::embed(const Pass& p) const {
  const WanActivations::State& s = p.s;
  const int64_t B = p.B, C = p.C;
  const PatchShape patch{
      B, config_.in_channels, p.input.height, p.input.width, config_.patch_height, config_.patch_width};
  ops_.patchify(patch, p.input.latents, s.patches, p.queue);
  ops_.linear_forward(p.N, C, patch.row(), s.patches + p.first * patch.row(), p.w.patch_embedding.weight,
                      p.w.patch_embedding.bias, s.x[0], p.queue);

  ops_.timestep_embedding(B, config_.freq_dim, p.input.timesteps, s.time_sin, p.queue);
  ops_.linear_forward(B, C, config_.freq_dim, s.time_sin, p.w.time_in.weight, p.w.time_in.bias, s.time_hidden,
                      p.queue);
  ops_.silu_forward(B * C, s.time_hidden, s.time_act, p.queue);
  ops_.linear_forward(B, C, C, s.time_act, p.w.time_out.weight, p.w.time_out.bias, s.temb, p.queue);
  ops_.silu_forward(B * C, s.temb, s.temb_act, p.queue);
  ops_.linear_forward(B, 6 * C, C, s.temb_act, p.w.time_proj.weight, p.w.time_proj.bias, s.time_proj,
                      p.queue);

  ops_.linear_forward(p.T, C, config_.text_dim, p.input.text->rows.data(), p.w.text_in.weight,
                      p.w.text_in.bias, s.text_hidden, p.queue);
  ops_.gelu_forward(p.T * C, s.text_hidden, s.text_act, p.queue);
  ops_.linear_forward(p.T, C, C, s.text_act, p.w.text_out.weight, p.w.text_out.bias, s.context, p.queue);
}

/// One block: modulated self-attention, cross-attention to the text, modulated feed-forward; out may be x.
void WanTransformer::block_forward(const Pass& p, int64_t index, const float* x, float* out) const {
  const BlockTensors<const float>& w = p.w.blocks[size_t(index)];
  const BlockActivations& a = p.block(index);
  const int64_t B = p.B, L = p.L, N = p.N, T = p.T, C = p.C, F = config_.ffn_dim;
  const Queue& queue = p.queue;
  const auto linear = [&](int64_t rows, int64_t n, int64_t k, const float* in,
                          const LinearTensors<const float>& l,
                          float* y) { ops_.linear_forward(rows, n, k, in, l.weight, l.bias, y, queue); };

  for (int64_t b = 0; b < B; ++b)
    for (int64_t i = 0; i < 6 * C; ++i)
      a.modulation[b * 6 * C + i] = w.scale_shift_table[i] + p.s.time_proj[b * 6 * C + i];
  const float* shift1 = a.modulation;
  const float* scale1 = a.modulation + C;
  const float* gate1 = a.modulation + 2 * C;
  const float* shift3 = a.modulation + 3 * C;
  const float* scale3 = a.modulation + 4 * C;
  const float* gate3 = a.modulation + 5 * C;

  ops_.layer_norm_forward(p.modulated(config_, 6 * C), x, scale1, shift1, a.norm1, a.mean1, a.rstd1, queue);
  linear(N, C, C, a.norm1, w.self.q, a.q1);
  linear(N, C, C, a.norm1, w.self.k, a.k1);
  linear(N, C, C, a.norm1, w.self.v, a.v1 + p.first * C);
  const QkNormShape self_norm = p.qk_norm(config_, N, L);
  const float* cos = p.s.rope.cos.data() + p.first * config_.head_dim / 2;
  const float* sin = p.s.rope.sin.data() + p.first * config_.head_dim / 2;
  ops_.qk_norm_rope_forward(self_norm, a.q1, w.self.norm_q, cos, sin, a.q1_rope, a.q1_rstd, queue);
  ops_.qk_norm_rope_forward(self_norm, a.k1, w.self.norm_k, cos, sin, a.k1_rope + p.first * C, a.k1_rstd,
                            queue);
  if (p.input.split) {
    p.input.split->gather(a.k1_rope, C);
    p.input.split->gather(a.v1, C);
  }
  ops_.attention_forward(p.self_attention(config_), a.q1_rope, a.k1_rope, a.v1, a.attention1, a.lse1, queue);
  linear(N, C, C, a.attention1, w.self.out, a.out1);
  ops_.gated_residual_forward(B, L, C, 6 * C, x, a.out1, gate1, a.x1, queue);

  ops_.layer_norm_forward(p.affine(config_), a.x1, w.norm2_weight, w.norm2_bias, a.norm2, a.mean2, a.rstd2,
                          queue);
  linear(N, C, C, a.norm2, w.cross.q, a.q2);
  linear(T, C, C, p.s.context, w.cross.k, a.k2);
  linear(T, C, C, p.s.context, w.cross.v, a.v2);
  ops_.qk_norm_rope_forward(p.qk_norm(config_, N, 1), a.q2, w.cross.norm_q, nullptr, nullptr, a.q2_norm,
                            a.q2_rstd, queue);
  ops_.qk_norm_rope_forward(p.qk_norm(config_, T, 1), a.k2, w.cross.norm_k, nullptr, nullptr, a.k2_norm,
                            a.k2_rstd, queue);
  ops_.attention_forward(p.cross_attention(config_), a.q2_norm, a.k2_norm, a.v2, a.attention2, a.lse2, queue);
  linear(N, C, C, a.attention2, w.cross.out, a.out2);
  ops_.gated_residual_forward(B, L, C, 0, a.x1, a.out2, nullptr, a.x2, queue);

  ops_.layer_norm_forward(p.modulated(config_, 6 * C), a.x2, scale3, shift3, a.norm3, a.mean3, a.rstd3,
                          queue);
  linear(N, F, C, a.norm3, w.ffn_in, a.ffn_raw);
  ops_.gelu_forward(N * F, a.ffn_raw, a.ffn_act, queue);
  linear(N, C, F, a.ffn_act, w.ffn_out, a.out3);
  ops_.gated_residual_forward(B, L, C, 6 * C, a.x2, a.out3, gate3, out, queue);
}

}  // namespace wandistill
