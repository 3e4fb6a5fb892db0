#define EIGEN_DONT_PARALLELIZE  // sums must not depend on the number of threads
#include "src/model/projection_reduce.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <numeric>

#include "src/model/projection_fit.h"
#include "src/model/projection_modulation.h"
#include "wandistill/ops.h"

namespace wandistill {
namespace {

using Index = std::vector<int64_t>;
using Row = Eigen::RowVectorXf;
using Map = Eigen::Map<Rows>;
using ConstMap = Eigen::Map<const Rows>;
using RowMap = Eigen::Map<Row>;
using ConstRow = Eigen::Map<const Row>;

// The time functions have no noise, but the student's few units are nearly collinear: with 1e-7 the weights
// came to hundreds on unlucky data and gradient norms with them (a start that diverges), with 1e-5 neither,
// and no worse a start.
constexpr double kTimeRidge = 1e-5;
constexpr double kTextRidge = 1e-3;

/// Indices of the `count` largest scores, ascending.
Index largest(const std::vector<double>& scores, int64_t count) {
  Index order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return scores[size_t(a)] > scores[size_t(b)]; });
  order.resize(size_t(count));
  std::sort(order.begin(), order.end());
  return order;
}

/// The units [k] of a hidden layer whose variance over the rows `act` [N, K] reaches most through `out` [M,
/// K].
Index important_units(const Rows& act, const ConstMap& out, int64_t count) {
  const Rows centred = act.rowwise() - Row(act.colwise().mean());
  const Row score = centred.colwise().squaredNorm().cwiseProduct(out.colwise().squaredNorm());
  return largest({score.begin(), score.end()}, count);
}

/// The channels of a teacher's head that a narrower one takes: of each rotary axis evenly spaced pairs, so
/// that every pair turns at the frequency nearest to its new one.
Index head_channels(int64_t teacher_dim, int64_t student_dim) {
  const auto axes = [](int64_t dim) { return Index{dim / 2 - dim / 6 * 2, dim / 6, dim / 6}; };
  const Index from = axes(teacher_dim), to = axes(student_dim);
  Index channels;
  int64_t start = 0;
  for (size_t axis = 0; axis < 3; start += from[axis++])
    for (int64_t i = 0; i < to[axis]; ++i) {
      const int64_t pair = start + i * from[axis] / to[axis];
      channels.insert(channels.end(), {2 * pair, 2 * pair + 1});
    }
  return channels;
}

class Reduction {
 public:
  Reduction(InitKind kind, const WanTransformer& teacher, const WanWeights& weights,
            const TeacherStatistics& statistics, const WanTransformer& student,
            const Calibration& calibration, const Queue& queue)
      : teacher_(teacher.config()),
        student_(student.config()),
        t_(tensors_of<float>(teacher_, teacher.layout(), weights)),
        statistics_(statistics),
        calibration_(calibration),
        queue_(queue),
        C_(teacher_.hidden()),
        c_(student_.hidden()),
        layers_(chosen_layers(teacher_.layers, student_.layers)),
        weights_(student.layout().total()),
        s_(student_, student.layout(), weights_.data()) {
    choose_basis(kind);
  }

  Buffer<float> run() {
    patch_embedding();
    const Rows context_basis = text_embedding();
    time_embedding();
    for (size_t j = 0; j < layers_.size(); ++j) block(j, context_basis);
    head();
    return std::move(weights_);
  }

 private:
  void choose_basis(InitKind kind) {
    const Eigen::VectorXd energy = statistics_.stream.diagonal();
    const Index channels = largest({energy.begin(), energy.end()}, c_);
    basis_.axis_aligned = kind == InitKind::kSlice;
    if (basis_.axis_aligned) {
      basis_.p = Rows::Zero(c_, C_);
      for (int64_t i = 0; i < c_; ++i) basis_.p(i, channels[size_t(i)]) = 1;
    } else {
      basis_.p = principal_basis(statistics_.stream, channels);
    }
    // What the student's norm divides by, per what the teacher's does.
    Eigen::MatrixXd seen = basis_.p.cast<double>();
    seen.rowwise() -= seen.colwise().mean().eval();
    basis_.norm_ratio = float(std::sqrt((seen * statistics_.stream).cwiseProduct(seen).sum() / double(c_)));
  }

  void patch_embedding() {
    const int64_t patch = teacher_.in_channels * teacher_.patch_height * teacher_.patch_width;
    Map(s_.patch_embedding.weight, c_, patch) = basis_.p * ConstMap(t_.patch_embedding.weight, C_, patch);
    RowMap(s_.patch_embedding.bias, c_) = ConstRow(t_.patch_embedding.bias, C_) * basis_.p.transpose();
  }

  /// Returns the principal directions [c, C] of the text context, the student's coordinates for it.
  Rows text_embedding() {
    const TextBatch text = TextBatch::pack(calibration_.texts, teacher_.text_dim);
    const int64_t width = teacher_.text_dim, T = text.total();
    const ConstMap out(t_.text_out.weight, C_, C_);
    Rows act(T, C_), context(T, C_);
    kCpuOps.linear_forward(T, C_, width, text.rows.data(), t_.text_in.weight, t_.text_in.bias, act.data(),
                           queue_);
    kCpuOps.gelu_forward(act.size(), act.data(), act.data(), queue_);
    kCpuOps.linear_forward(T, C_, C_, act.data(), t_.text_out.weight, t_.text_out.bias, context.data(),
                           queue_);
    Eigen::MatrixXd moment = Eigen::MatrixXd::Zero(C_, C_);
    add_moment(context, moment, queue_);
    const Rows basis = principal_directions(moment, c_);

    const Index units = important_units(act, out, c_);
    Map(s_.text_in.weight, c_, width) = ConstMap(t_.text_in.weight, C_, width)(units, Eigen::all);
    RowMap(s_.text_in.bias, c_) = ConstRow(t_.text_in.bias, C_)(units);
    Map(s_.text_out.weight, c_, c_) = basis * out(Eigen::all, units);
    RowMap(s_.text_out.bias, c_) = ConstRow(t_.text_out.bias, C_) * basis.transpose();
    fit_linear(act(Eigen::all, units), context * basis.transpose(), kTextRidge, s_.text_out, queue_);
    return basis;
  }

  /// The time embedding is a function of one number: the student's is fitted to the teacher's on a grid of
  /// it.
  void time_embedding() {
    const int64_t G = 501, width = teacher_.freq_dim;
    const Row timesteps = Row::LinSpaced(G, 0, 1000);
    Rows waves(G, width), act(G, C_), temb(G, C_), temb_act(G, C_), proj(G, 6 * C_);
    kCpuOps.timestep_embedding(G, width, timesteps.data(), waves.data(), queue_);
    kCpuOps.linear_forward(G, C_, width, waves.data(), t_.time_in.weight, t_.time_in.bias, act.data(),
                           queue_);
    kCpuOps.silu_forward(act.size(), act.data(), act.data(), queue_);
    kCpuOps.linear_forward(G, C_, C_, act.data(), t_.time_out.weight, t_.time_out.bias, temb.data(), queue_);
    kCpuOps.silu_forward(temb.size(), temb.data(), temb_act.data(), queue_);
    kCpuOps.linear_forward(G, 6 * C_, C_, temb_act.data(), t_.time_proj.weight, t_.time_proj.bias,
                           proj.data(), queue_);

    const Row mean = proj.colwise().mean();
    for (int64_t layer : layers_)
      modulations_.emplace_back(basis_, ConstRow(t_.blocks[size_t(layer)].scale_shift_table, 6 * C_), mean);

    // The head adds the same embedding to its shift and its scale: the mean of the maps that suit the one and
    // the other.
    const Rows map_temb = 0.5f * (shift_map() + scale_map());
    const ConstMap out(t_.time_out.weight, C_, C_);
    const Index units = important_units(act, out, c_);
    Map(s_.time_in.weight, c_, width) = ConstMap(t_.time_in.weight, C_, width)(units, Eigen::all);
    RowMap(s_.time_in.bias, c_) = ConstRow(t_.time_in.bias, C_)(units);
    Map(s_.time_out.weight, c_, c_) = map_temb * out(Eigen::all, units);
    RowMap(s_.time_out.bias, c_) = ConstRow(t_.time_out.bias, C_) * map_temb.transpose();
    const Rows kept = act(Eigen::all, units);
    fit_linear(kept, temb * map_temb.transpose(), kTimeRidge, s_.time_out, queue_);

    Rows student_temb(G, c_);
    kCpuOps.linear_forward(G, c_, c_, kept.data(), s_.time_out.weight, s_.time_out.bias, student_temb.data(),
                           queue_);
    kCpuOps.silu_forward(student_temb.size(), student_temb.data(), student_temb.data(), queue_);
    Rows target(G, 6 * c_);
    for (int64_t which = 0; which < 6; ++which) {
      Rows map = Rows::Zero(c_, C_);
      for (const BlockModulation& m : modulations_) map += m.map(which) / float(layers_.size());
      const ConstMap proj_weight(t_.time_proj.weight + which * C_ * C_, C_, C_);
      Map(s_.time_proj.weight + which * c_ * c_, c_, c_) = map * proj_weight * map_temb.transpose();
      RowMap(s_.time_proj.bias + which * c_, c_) =
          ConstRow(t_.time_proj.bias + which * C_, C_) * map.transpose();
      target.middleCols(which * c_, c_) = proj.middleCols(which * C_, C_) * map.transpose();
    }
    fit_linear(student_temb, target, kTimeRidge, s_.time_proj, queue_);
    student_proj_mean_ = target.colwise().mean();
    temb_mean_ = temb.colwise().mean();
    student_temb_mean_ = temb_mean_ * map_temb.transpose();
  }

  void block(size_t j, const Rows& context_basis) {
    const BlockTensors<const float>& t = t_.blocks[size_t(layers_[j])];
    const BlockTensors<float>& s = s_.blocks[j];
    const BlockStatistics& statistics = statistics_.blocks[j];
    const BlockModulation& m = modulations_[j];
    for (int64_t which = 0; which < 6; ++which)
      RowMap(s.scale_shift_table + which * c_, c_) =
          m.student_mean(which) - student_proj_mean_.segment(which * c_, c_);

    const Index self = channels(statistics.self_heads), cross = channels(statistics.cross_heads);
    read(t.self.q, s.self.q, C_, self, m.in_weights(1), m.in_weights(0));
    read(t.self.k, s.self.k, C_, self, m.in_weights(1), m.in_weights(0));
    read(t.self.v, s.self.v, C_, self, m.in_weights(1), m.in_weights(0));
    rms_weight(t.self.norm_q, s.self.norm_q, self, statistics.self_q);
    rms_weight(t.self.norm_k, s.self.norm_k, self, statistics.self_k);
    write(t.self.out, s.self.out, C_, self, m.in_weights(2));

    // The weights of this norm go into the query projection that alone reads it.
    std::fill(s.norm2_weight, s.norm2_weight + c_, 1.0f);
    std::fill(s.norm2_bias, s.norm2_bias + c_, 0.0f);
    read(t.cross.q, s.cross.q, C_, cross, ConstRow(t.norm2_weight, C_), ConstRow(t.norm2_bias, C_));
    read_context(t.cross.k, s.cross.k, cross, context_basis);
    read_context(t.cross.v, s.cross.v, cross, context_basis);
    rms_weight(t.cross.norm_q, s.cross.norm_q, cross, statistics.cross_q);
    rms_weight(t.cross.norm_k, s.cross.norm_k, cross, statistics.cross_k);
    write(t.cross.out, s.cross.out, C_, cross, Row::Ones(C_));

    const Index units = largest(statistics.ffn_units, student_.ffn_dim);
    read(t.ffn_in, s.ffn_in, teacher_.ffn_dim, units, m.in_weights(4), m.in_weights(3));
    write(t.ffn_out, s.ffn_out, teacher_.ffn_dim, units, m.in_weights(5));
  }

  void head() {
    const int64_t out = teacher_.out_channels * teacher_.patch_height * teacher_.patch_width;
    Index all(static_cast<size_t>(out));
    std::iota(all.begin(), all.end(), 0);
    const Row shift = ConstRow(t_.scale_shift_table, C_) + temb_mean_;
    const Row scale = ConstRow(t_.scale_shift_table + C_, C_) + temb_mean_;
    RowMap(s_.scale_shift_table, c_) = shift * shift_map().transpose() - student_temb_mean_;
    RowMap(s_.scale_shift_table + c_, c_) = scale * scale_map().transpose() - student_temb_mean_;
    read(t_.proj_out, s_.proj_out, out, all, Row::Ones(C_), Row::Zero(C_));
  }

  /// [c, C]: from the teacher's to the student's modulation of the head. (Its mean in the weights, as in the
  /// blocks, measured no better.)
  Rows shift_map() const { return basis_.p / basis_.norm_ratio; }
  Rows scale_map() const { return basis_.p.cwiseAbs2(); }

  /// The kept heads' channels.
  Index channels(const std::vector<double>& heads) const {
    Index all;
    for (int64_t h : largest(heads, student_.heads))
      for (int64_t i : head_channels(teacher_.head_dim, student_.head_dim))
        all.push_back(h * teacher_.head_dim + i);
    return all;
  }

  /// The `kept` of a layer's `outputs`, which reads the norm: scale and shift [C] are what the teacher's
  /// modulation leaves to the weights.
  void read(const LinearTensors<const float>& t, const LinearTensors<float>& s, int64_t outputs,
            const Index& kept, const Row& scale, const Row& shift) const {
    const Rows w = ConstMap(t.weight, outputs, C_)(kept, Eigen::all);
    Map(s.weight, w.rows(), c_) = basis_.norm_ratio * (w * scale.asDiagonal()) * basis_.p.transpose();
    RowMap(s.bias, w.rows()) = Row(ConstRow(t.bias, outputs)(kept)) + shift * w.transpose();
  }
  void read_context(const LinearTensors<const float>& t, const LinearTensors<float>& s, const Index& kept,
                    const Rows& context_basis) const {
    Map(s.weight, c_, c_) = ConstMap(t.weight, C_, C_)(kept, Eigen::all) * context_basis.transpose();
    RowMap(s.bias, c_) = ConstRow(t.bias, C_)(kept);
  }
  /// A layer that adds the `kept` of its `inputs` to the stream; gate [C] is what goes into the weights.
  void write(const LinearTensors<const float>& t, const LinearTensors<float>& s, int64_t inputs,
             const Index& kept, const Row& gate) const {
    const Rows gated = basis_.p * gate.asDiagonal();
    Map(s.weight, c_, int64_t(kept.size())) = gated * ConstMap(t.weight, C_, inputs)(Eigen::all, kept);
    RowMap(s.bias, c_) = ConstRow(t.bias, C_) * gated.transpose();
  }
  /// The student's RMS is over the kept channels alone; and narrower heads need larger scores, which sum over
  /// fewer channels but are divided by a smaller root: sqrt(D / d) in all, shared by query and key.
  void rms_weight(const float* t, float* s, const Index& kept, const Eigen::RowVectorXd& mean_square) const {
    const float scale = float(std::sqrt(mean_square(kept).mean())) *
                        std::pow(float(teacher_.head_dim) / float(student_.head_dim), 0.25f);
    RowMap(s, c_) = scale * ConstRow(t, C_)(kept);
  }

  const WanConfig& teacher_;
  const WanConfig& student_;
  const WanTensors<const float> t_;
  const TeacherStatistics& statistics_;
  const Calibration& calibration_;
  const Queue queue_;
  const int64_t C_, c_;
  const Index layers_;
  Buffer<float> weights_;
  const WanTensors<float> s_;
  StreamBasis basis_;
  std::vector<BlockModulation> modulations_;
  Row student_proj_mean_;              // [6 c]: mean over time of the student's time projection
  Row temb_mean_, student_temb_mean_;  // [C], [c]: of the time embeddings
};

}  // namespace

std::vector<int64_t> chosen_layers(int64_t teacher_layers, int64_t student_layers) {
  Index layers;
  for (int64_t j = 0; j < student_layers; ++j) layers.push_back(j * teacher_layers / student_layers);
  return layers;
}

Buffer<float> reduce_teacher(InitKind kind, const WanTransformer& teacher, const WanWeights& weights,
                             const TeacherStatistics& statistics, const WanTransformer& student,
                             const Calibration& calibration, const Queue& queue) {
  return Reduction(kind, teacher, weights, statistics, student, calibration, queue).run();
}

}  // namespace wandistill
