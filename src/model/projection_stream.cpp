#include "src/model/projection_stream.h"

#include <cmath>

#include "wandistill/ops.h"

namespace wandistill {

TeacherStream::TeacherStream(const WanTransformer& model, const WanWeights& weights, const WanInput& input,
                             const Queue& queue)
    : config_(model.config()),
      input_(input),
      queue_(queue),
      w_(tensors_of<float>(model.config(), model.layout(), weights)),
      B_(input.text->batch()),
      L_(config_.tokens(input.height, input.width)),
      N_(B_ * L_),
      T_(input.text->total()),
      C_(config_.hidden()),
      rope_(rotary_table(input.height / config_.patch_height, input.width / config_.patch_width,
                         config_.head_dim)) {
  for (int64_t b = 0; b <= B_; ++b) self_offsets_.push_back(b * L_);
  const PatchShape patch{B_,          config_.in_channels,  input.height,
                         input.width, config_.patch_height, config_.patch_width};
  Rows patches(N_, patch.row());
  kCpuOps.patchify(patch, input.latents, patches.data(), queue_);
  x_ = linear(patches, w_.patch_embedding, C_);

  Rows time(B_, config_.freq_dim);
  kCpuOps.timestep_embedding(B_, config_.freq_dim, input.timesteps, time.data(), queue_);
  for (const LinearTensors<const float>* layer : {&w_.time_in, &w_.time_out}) {
    time = linear(time, *layer, C_);
    kCpuOps.silu_forward(time.size(), time.data(), time.data(), queue_);
  }
  time_proj_ = linear(time, w_.time_proj, 6 * C_);

  const Rows text = Eigen::Map<const Rows>(input.text->rows.data(), T_, config_.text_dim);
  Rows hidden = linear(text, w_.text_in, C_);
  kCpuOps.gelu_forward(hidden.size(), hidden.data(), hidden.data(), queue_);
  context_ = linear(hidden, w_.text_out, C_);
}

Rows TeacherStream::linear(const Rows& rows, const LinearTensors<const float>& layer, int64_t outputs) const {
  Rows y(rows.rows(), outputs);
  kCpuOps.linear_forward(rows.rows(), outputs, rows.cols(), rows.data(), layer.weight, layer.bias, y.data(),
                         queue_);
  return y;
}

Rows TeacherStream::norm(int64_t batch, int64_t stride, float offset, const float* scale,
                         const float* shift) const {
  Rows y(N_, C_), statistics(2, N_);
  kCpuOps.layer_norm_forward({batch, N_ / batch, C_, stride, offset, config_.eps}, x_.data(), scale, shift,
                             y.data(), statistics.data(), statistics.data() + N_, queue_);
  return y;
}

Rows TeacherStream::normalised() const {
  const Rows zeros = Rows::Zero(1, C_);
  return norm(1, 0, 1.0f, zeros.data(), zeros.data());
}

Rows TeacherStream::modulation(int64_t layer, int64_t which) const {
  const Eigen::Map<const Eigen::RowVectorXf> table(block(layer).scale_shift_table + which * C_, C_);
  return time_proj_.middleCols(which * C_, C_).rowwise() + table;
}

Rows TeacherStream::modulated(int64_t layer, int64_t first) const {
  const Rows shift = modulation(layer, first), scale = modulation(layer, first + 1);
  return norm(B_, C_, 1.0f, scale.data(), shift.data());
}

Attended TeacherStream::attend(const AttentionTensors<const float>& w, const Rows& norm, const Rows& keys,
                               bool self) const {
  const float* cos = self ? rope_.cos.data() : nullptr;
  const float* sin = self ? rope_.sin.data() : nullptr;
  const Rows ones = Rows::Ones(1, C_);
  const auto norm_rope = [&](const Rows& x, const float* weight, const float* co, const float* si) {
    Rows y(x.rows(), C_), rstd(1, x.rows());
    kCpuOps.qk_norm_rope_forward({x.rows(), config_.heads, config_.head_dim, co ? L_ : 1, config_.eps},
                                 x.data(), weight, co, si, y.data(), rstd.data(), queue_);
    return y;
  };
  const Rows q = linear(norm, w.q, C_), k = linear(keys, w.k, C_), v = linear(keys, w.v, C_);
  Attended a{norm_rope(q, ones.data(), nullptr, nullptr), norm_rope(k, ones.data(), nullptr, nullptr),
             Rows(N_, C_)};
  const AttentionShape shape{B_,
                             L_,
                             config_.heads,
                             config_.head_dim,
                             self ? L_ : input_.text->longest(),
                             self ? self_offsets_.data() : input_.text->offsets.data(),
                             self ? nullptr : input_.text->last_key_bias.data(),
                             1.0f / std::sqrt(float(config_.head_dim))};
  kCpuOps.attention_forward(shape, norm_rope(q, w.norm_q, cos, sin).data(),
                            norm_rope(k, w.norm_k, cos, sin).data(), v.data(), a.out.data(), nullptr, queue_);
  return a;
}

Attended TeacherStream::self_attention(int64_t layer) const {
  const Rows norm = modulated(layer, 0);
  return attend(block(layer).self, norm, norm, true);
}

Attended TeacherStream::cross_attention(int64_t layer) const {
  return attend(block(layer).cross, norm(1, 0, 0.0f, block(layer).norm2_weight, block(layer).norm2_bias),
                context_, false);
}

Rows TeacherStream::ffn_units(int64_t layer) const {
  Rows units = linear(modulated(layer, 3), block(layer).ffn_in, config_.ffn_dim);
  kCpuOps.gelu_forward(units.size(), units.data(), units.data(), queue_);
  return units;
}

void TeacherStream::add(const Rows& rows, const LinearTensors<const float>& layer, const Rows* gate) {
  const Rows y = linear(rows, layer, C_);
  kCpuOps.gated_residual_forward(B_, L_, C_, gate ? C_ : 0, x_.data(), y.data(),
                                 gate ? gate->data() : nullptr, x_.data(), queue_);
}

void TeacherStream::add_self(int64_t layer, const Attended& attended) {
  const Rows gate = modulation(layer, 2);
  add(attended.out, block(layer).self.out, &gate);
}

void TeacherStream::add_cross(int64_t layer, const Attended& attended) {
  add(attended.out, block(layer).cross.out, nullptr);
}

void TeacherStream::add_ffn(int64_t layer, const Rows& units) {
  const Rows gate = modulation(layer, 5);
  add(units, block(layer).ffn_out, &gate);
}

}  // namespace wandistill
