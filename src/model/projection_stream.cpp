#include "src/model/projection_stream.h"

#include <cmath>

#include "wandistill/ops.h"

namespace wandistill {

Stream::Stream(const WanTransformer& model, const float* weights, const WanInput& input, const Queue& queue)
    : config_(model.config()),
      input_(input),
      queue_(queue),
      w_(model.config(), model.layout(), weights),
      B_(input.text->batch()),
      L_(config_.tokens(input.height, input.width)),
      N_(B_ * L_),
      T_(input.text->total()),
      C_(config_.hidden()),
      rope_(rotary_table(input.height / config_.patch_height, input.width / config_.patch_width, config_.head_dim)) {
  for (int64_t b = 0; b <= B_; ++b) self_offsets_.push_back(b * L_);
}

Rows Stream::linear(const Rows& rows, const LinearTensors<const float>& layer, int64_t outputs) const {
  Rows y(rows.rows(), outputs);
  kCpuOps.linear_forward(rows.rows(), outputs, rows.cols(), rows.data(), layer.weight, layer.bias, y.data(), queue_);
  return y;
}

void Stream::embed() {
  const PatchShape patch{B_, config_.in_channels, input_.height, input_.width, config_.patch_height,
                         config_.patch_width};
  Rows patches(N_, patch.row());
  kCpuOps.patchify(patch, input_.latents, patches.data(), queue_);
  x = linear(patches, w_.patch_embedding, C_);

  Rows time(B_, config_.freq_dim);
  kCpuOps.timestep_embedding(B_, config_.freq_dim, input_.timesteps, time.data(), queue_);
  Rows hidden = linear(time, w_.time_in, C_);
  kCpuOps.silu_forward(hidden.size(), hidden.data(), hidden.data(), queue_);
  temb = linear(hidden, w_.time_out, C_);
  kCpuOps.silu_forward(temb.size(), temb.data(), hidden.data(), queue_);
  time_proj = linear(hidden, w_.time_proj, 6 * C_);

  const Rows text = Eigen::Map<const Rows>(input_.text->rows.data(), T_, config_.text_dim);
  Rows text_hidden = linear(text, w_.text_in, C_);
  kCpuOps.gelu_forward(text_hidden.size(), text_hidden.data(), text_hidden.data(), queue_);
  context = linear(text_hidden, w_.text_out, C_);
}

Rows Stream::modulation(int64_t layer, int64_t which) const {
  const Eigen::Map<const Eigen::RowVectorXf> table(block(layer).scale_shift_table + which * C_, C_);
  return time_proj.middleCols(which * C_, C_).rowwise() + table;
}

Rows Stream::normalised() const {
  const Rows zeros = Rows::Zero(1, C_);
  Rows y(N_, C_), statistics(2, N_);
  kCpuOps.layer_norm_forward({1, N_, C_, 0, 1.0f, config_.eps}, x.data(), zeros.data(), zeros.data(), y.data(),
                             statistics.data(), statistics.data() + N_, queue_);
  return y;
}

Rows Stream::modulated(int64_t layer, int64_t first) const {
  const Rows shift = modulation(layer, first), scale = modulation(layer, first + 1);
  Rows y(N_, C_), statistics(2, N_);
  kCpuOps.layer_norm_forward({B_, L_, C_, C_, 1.0f, config_.eps}, x.data(), scale.data(), shift.data(), y.data(),
                             statistics.data(), statistics.data() + N_, queue_);
  return y;
}

Rows Stream::norm2(int64_t layer) const {
  Rows y(N_, C_), statistics(2, N_);
  kCpuOps.layer_norm_forward({1, N_, C_, 0, 0.0f, config_.eps}, x.data(), block(layer).norm2_weight,
                             block(layer).norm2_bias, y.data(), statistics.data(), statistics.data() + N_, queue_);
  return y;
}

Rows Stream::head_norm() const {
  const Eigen::Map<const Eigen::RowVectorXf> shift_table(w_.scale_shift_table, C_);
  const Eigen::Map<const Eigen::RowVectorXf> scale_table(w_.scale_shift_table + C_, C_);
  const Rows shift = temb.rowwise() + shift_table, scale = temb.rowwise() + scale_table;
  Rows y(N_, C_), statistics(2, N_);
  kCpuOps.layer_norm_forward({B_, L_, C_, C_, 1.0f, config_.eps}, x.data(), scale.data(), shift.data(), y.data(),
                             statistics.data(), statistics.data() + N_, queue_);
  return y;
}

Rows Stream::norm_rope(const Rows& rows, const float* weight, bool rotate) const {
  Rows y(rows.rows(), C_);
  std::vector<float> rstd(size_t(rows.rows()));
  kCpuOps.qk_norm_rope_forward({rows.rows(), config_.heads, config_.head_dim, rotate ? L_ : 1, config_.eps},
                               rows.data(), weight, rotate ? rope_.cos.data() : nullptr,
                               rotate ? rope_.sin.data() : nullptr, y.data(), rstd.data(), queue_);
  return y;
}

Attended Stream::self_attention(int64_t layer, const Rows& norm) const {
  const AttentionTensors<const float>& w = block(layer).self;
  Attended a{linear(norm, w.q, C_), linear(norm, w.k, C_), linear(norm, w.v, C_), Rows(N_, C_)};
  const AttentionShape shape{B_, L_, config_.heads, config_.head_dim, self_offsets_.data(), nullptr,
                             1.0f / std::sqrt(float(config_.head_dim))};
  kCpuOps.attention_forward(shape, norm_rope(a.q, w.norm_q, true).data(), norm_rope(a.k, w.norm_k, true).data(),
                            a.v.data(), a.out.data(), nullptr, queue_);
  return a;
}

Attended Stream::cross_attention(int64_t layer, const Rows& norm) const {
  const AttentionTensors<const float>& w = block(layer).cross;
  Attended a{linear(norm, w.q, C_), linear(context, w.k, C_), linear(context, w.v, C_), Rows(N_, C_)};
  const AttentionShape shape{B_,
                             L_,
                             config_.heads,
                             config_.head_dim,
                             input_.text->offsets.data(),
                             input_.text->last_key_bias.data(),
                             1.0f / std::sqrt(float(config_.head_dim))};
  kCpuOps.attention_forward(shape, norm_rope(a.q, w.norm_q, false).data(), norm_rope(a.k, w.norm_k, false).data(),
                            a.v.data(), a.out.data(), nullptr, queue_);
  return a;
}

Rows Stream::ffn_raw(int64_t layer, const Rows& norm) const {
  return linear(norm, block(layer).ffn_in, config_.ffn_dim);
}

Rows Stream::ffn_act(const Rows& raw) const {
  Rows y(raw.rows(), raw.cols());
  kCpuOps.gelu_forward(raw.size(), raw.data(), y.data(), queue_);
  return y;
}

void Stream::add(const Rows& rows, const LinearTensors<const float>& layer, const Rows* gate) {
  const Rows y = linear(rows, layer, C_);
  kCpuOps.gated_residual_forward(B_, L_, C_, gate ? C_ : 0, x.data(), y.data(), gate ? gate->data() : nullptr,
                                 x.data(), queue_);
}

void Stream::add_self(int64_t layer, const Rows& attended) {
  const Rows gate = modulation(layer, 2);
  add(attended, block(layer).self.out, &gate);
}

void Stream::add_cross(int64_t layer, const Rows& attended) { add(attended, block(layer).cross.out, nullptr); }

void Stream::add_ffn(int64_t layer, const Rows& act) {
  const Rows gate = modulation(layer, 5);
  add(act, block(layer).ffn_out, &gate);
}

void Stream::run(int64_t layer) {
  add_self(layer, self_attention(layer, norm1(layer)).out);
  add_cross(layer, cross_attention(layer, norm2(layer)).out);
  add_ffn(layer, ffn_act(ffn_raw(layer, norm3(layer))));
}

}  // namespace wandistill
