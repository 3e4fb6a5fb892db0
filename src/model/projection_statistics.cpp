#include "src/model/projection_statistics.h"

#include <algorithm>
#include <utility>

#include "src/model/projection_fit.h"

namespace wandistill {
namespace {

// Each is measured by one rank, and they are added in order: the sums are the same on any number of ranks.
constexpr int64_t kParts = 16;

using Eigen::MatrixXd;
using Eigen::RowVectorXd;
using WeightMap = Eigen::Map<const Rows>;

RowVectorXd mean_squares(const Rows& x) {
  return x.cast<double>().colwise().squaredNorm() / double(x.rows());
}

/// Energy [H] that each head's output, [N, H D], adds to the stream through weight [C, H D] and gate [1, C]
/// (no gate: null).
std::vector<double> head_energies(const Rows& out, const float* weight, const Rows* gate, int64_t heads,
                                  const Queue& queue) {
  const int64_t C = out.cols(), D = C / heads;
  std::vector<double> energies;
  for (int64_t h = 0; h < heads; ++h) {
    MatrixXd moment = MatrixXd::Zero(D, D);
    add_moment(out.middleCols(h * D, D), moment, queue);
    MatrixXd w = WeightMap(weight, C, C).middleCols(h * D, D).cast<double>();
    if (gate) w.array().colwise() *= gate->row(0).transpose().cast<double>().array();
    energies.push_back((w * moment).cwiseProduct(w).sum() / double(out.rows()));
  }
  return energies;
}

std::vector<double> unit_variances(const Rows& units, const float* weight, const Rows& gate) {
  const WeightMap w(weight, gate.cols(), units.cols());
  const RowVectorXd mean = units.cast<double>().colwise().mean();
  const RowVectorXd reach = (gate.row(0).transpose().asDiagonal() * w).cast<double>().colwise().squaredNorm();
  const RowVectorXd variance = (mean_squares(units).array() - mean.array().square()) * reach.array();
  return {variance.begin(), variance.end()};
}

/// into += part / n, growing from empty.
template <class Values>
void add_mean(Values& into, const Values& part, double n) {
  if (into.size() == 0) {
    into = part;
    for (double& v : into) v = 0;
  }
  for (decltype(into.size()) i = 0; i < into.size(); ++i) into[i] += part[i] / n;
}

class Measurement {
 public:
  Measurement(const WanConfig& config, const WanTensors<const float>& weights, int64_t pictures,
              const Queue& queue)
      : config_(config), w_(weights), pictures_(double(pictures)), queue_(queue) {}

  void note_stream(const TeacherStream& x, TeacherStatistics& s) const {
    add_moment(x.normalised(), s.stream, queue_);
  }

  void note_attention(const Attended& a, const AttentionTensors<const float>& w, const Rows* gate,
                      std::vector<double>& heads, RowVectorXd& q, RowVectorXd& k) const {
    add_mean(heads, head_energies(a.out, w.out.weight, gate, config_.heads, queue_), pictures_);
    add_mean(q, mean_squares(a.q), pictures_);
    add_mean(k, mean_squares(a.k), pictures_);
  }

  /// One block; `s` null: only passes it. The stream's moment is noted before each stage.
  void run(TeacherStream& x, int64_t layer, TeacherStatistics* all, BlockStatistics* s) const {
    const BlockTensors<const float>& w = w_.blocks[size_t(layer)];
    const Rows gate1 = x.modulation(layer, 2), gate3 = x.modulation(layer, 5);
    if (s) note_stream(x, *all);
    const Attended self = x.self_attention(layer);
    if (s) note_attention(self, w.self, &gate1, s->self_heads, s->self_q, s->self_k);
    x.add_self(layer, self);

    if (s) note_stream(x, *all);
    const Attended cross = x.cross_attention(layer);
    if (s) note_attention(cross, w.cross, nullptr, s->cross_heads, s->cross_q, s->cross_k);
    x.add_cross(layer, cross);

    if (s) note_stream(x, *all);
    const Rows units = x.ffn_units(layer);
    if (s) add_mean(s->ffn_units, unit_variances(units, w.ffn_out.weight, gate3), pictures_);
    x.add_ffn(layer, units);
  }

 private:
  const WanConfig& config_;
  const WanTensors<const float>& w_;
  double pictures_;
  Queue queue_;
};

/// Sums over a part of the calibration set.
TeacherStatistics measure_part(const WanTransformer& teacher, const WanWeights& weights,
                               const std::vector<int64_t>& layers, const Calibration& calibration,
                               const Range& part, const Queue& queue) {
  const WanConfig& config = teacher.config();
  const WanTensors<const float> w = tensors_of<float>(config, teacher.layout(), weights);
  const int64_t size = config.in_channels * calibration.height * calibration.width;
  const Measurement measurement(config, w, int64_t(calibration.timesteps.size()), queue);
  TeacherStatistics s{MatrixXd::Zero(config.hidden(), config.hidden()),
                      std::vector<BlockStatistics>(layers.size())};
  for (int64_t i = part.begin; i < part.end; ++i) {
    const TextBatch text = TextBatch::pack({&calibration.texts[size_t(i)], 1}, config.text_dim);
    TeacherStream x(teacher, weights,
                    {calibration.height, calibration.width, calibration.latents.data() + i * size,
                     calibration.timesteps.data() + i, &text},
                    queue);
    size_t next = 0;
    for (int64_t layer = 0; layer < config.layers; ++layer) {
      const bool measured = next < layers.size() && layers[next] == layer;
      measurement.run(x, layer, &s, measured ? &s.blocks[next++] : nullptr);
    }
    measurement.note_stream(x, s);
  }
  return s;
}

/// Every rank's `part` becomes the root's.
void broadcast(TeacherStatistics& part, const WanConfig& config, const Session& session, int root) {
  const auto share = [&](double* values, int64_t count) { session.broadcast(values, count, root); };
  share(part.stream.data(), part.stream.size());
  for (BlockStatistics& s : part.blocks) {
    for (const auto& [values, count] : {std::pair{&s.self_heads, config.heads},
                                        {&s.cross_heads, config.heads},
                                        {&s.ffn_units, config.ffn_dim}}) {
      values->resize(size_t(count));
      share(values->data(), count);
    }
    for (Eigen::RowVectorXd* values : {&s.self_q, &s.self_k, &s.cross_q, &s.cross_k}) {
      values->resize(config.hidden());
      share(values->data(), values->size());
    }
  }
}

void add(TeacherStatistics& into, const TeacherStatistics& part) {
  into.stream += part.stream;
  for (size_t i = 0; i < into.blocks.size(); ++i) {
    BlockStatistics& to = into.blocks[i];
    const BlockStatistics& from = part.blocks[i];
    add_mean(to.self_heads, from.self_heads, 1);
    add_mean(to.cross_heads, from.cross_heads, 1);
    add_mean(to.ffn_units, from.ffn_units, 1);
    add_mean(to.self_q, from.self_q, 1);
    add_mean(to.self_k, from.self_k, 1);
    add_mean(to.cross_q, from.cross_q, 1);
    add_mean(to.cross_k, from.cross_k, 1);
  }
}

}  // namespace

TeacherStatistics measure_teacher(const WanTransformer& teacher, const WanWeights& weights,
                                  const std::vector<int64_t>& layers, const Calibration& calibration,
                                  Session* session, const Queue& queue) {
  const WanConfig& config = teacher.config();
  const int64_t pictures = int64_t(calibration.timesteps.size());
  const int64_t parts = std::min(kParts, pictures);
  const int64_t ranks = session ? session->world_size() : 1, rank = session ? session->rank() : 0;
  const TeacherStatistics none{MatrixXd::Zero(config.hidden(), config.hidden()),
                               std::vector<BlockStatistics>(layers.size())};
  TeacherStatistics all = none, own = none, other = none;
  for (int64_t first = 0; first < parts; first += ranks) {
    const auto measure = [&] {
      const int64_t part = first + rank;
      if (part < parts)
        own = measure_part(teacher, weights, layers, calibration,
                           {pictures * part / parts, pictures * (part + 1) / parts}, queue);
    };
    session ? session->collectively(measure) : measure();
    for (int64_t part = first; part < std::min(parts, first + ranks); ++part) {
      TeacherStatistics& of_part = part == first + rank ? own : other;
      if (session) broadcast(of_part, config, *session, int(part - first));
      add(all, of_part);
    }
  }
  const int64_t tokens = config.tokens(calibration.height, calibration.width);
  all.stream /= double(pictures * tokens * (3 * int64_t(layers.size()) + 1));
  return all;
}

}  // namespace wandistill
