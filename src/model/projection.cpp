#define EIGEN_DONT_PARALLELIZE
#include "wandistill/projection.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstdio>
#include <numeric>
#include <optional>

#include "src/model/projection_fit.h"
#include "src/model/projection_stream.h"
#include "wandistill/error.h"
#include "wandistill/ops.h"
#include "wandistill/philox.h"

namespace wandistill {
namespace {

std::string knob(const char* name, const char* standard) {
  const char* v = std::getenv(name);
  return v ? v : standard;
}
int iknob(const char* name, int standard) { return std::atoi(knob(name, std::to_string(standard).c_str()).c_str()); }
double dknob(const char* name, double standard) { return std::atof(knob(name, std::to_string(standard).c_str()).c_str()); }

using Row = Eigen::RowVectorXf;
using Map = Eigen::Map<Rows>;
using ConstMap = Eigen::Map<const Rows>;
using RowMap = Eigen::Map<Row>;
using ConstRow = Eigen::Map<const Row>;
using Index = std::vector<int64_t>;

Index largest(const std::vector<double>& score, int64_t count) {
  Index order(score.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return score[size_t(a)] > score[size_t(b)]; });
  order.resize(size_t(count));
  std::sort(order.begin(), order.end());
  return order;
}

class Reduction {
 public:
  Reduction(InitKind kind, const GuidedModel& teacher, const WanTransformer& student, const Calibration& calibration,
            const Queue& queue)
      : kind_(kind), teacher_(teacher), tc_(teacher.transformer->config()), student_(student), sc_(student.config()),
        calibration_(calibration), queue_(queue), weights_(Buffer<float>::zeros(student.layout().total())),
        s_(sc_, student.layout(), weights_.data()) {
    for (int64_t j = 0; j < sc_.layers; ++j) layers_.push_back(j * tc_.layers / sc_.layers);
    base_ = Buffer<float>::copy_of(teacher.high_noise, teacher.transformer->layout().total());
    const std::string base = knob("BASE", "avg");
    if (teacher.low_noise) for (int64_t i = 0; i < base_.size(); ++i)
      base_[i] = base == "high" ? teacher.high_noise[i] : base == "low" ? teacher.low_noise[i] : 0.5f * (teacher.high_noise[i] + teacher.low_noise[i]);
    b_.emplace(tc_, teacher.transformer->layout(), static_cast<const float*>(base_.data()));
    refit_ = iknob("REFIT", 0);
    guided_ = iknob("GUIDED", 1) && teacher.guided();
    ridge_ = dknob("RIDGE", 1e-3);
    C_ = tc_.hidden(); c_ = sc_.hidden();
    split();
  }

  Buffer<float> run() {
    measure();
    choose_basis();
    embedders();
    blocks();
    return std::move(weights_);
  }

 private:
  struct Part { std::vector<float> latents, timesteps; TextBatch text; const float* weights; int64_t n; };

  // samples by expert; order_ = samples high first
  void split() {
    const int64_t n = int64_t(calibration_.timesteps.size());
    const int64_t size = tc_.in_channels * calibration_.height * calibration_.width;
    const bool own = knob("EXPERT", "own") == "own" && teacher_.low_noise;
    std::vector<Index> sides(own ? 2 : 1);
    for (int64_t i = 0; i < n; ++i)
      sides[own && double(calibration_.timesteps[size_t(i)]) < teacher_.boundary_ratio * 1000 ? 1 : 0].push_back(i);
    std::vector<const TextEmbedding*> all;
    for (size_t e = 0; e < sides.size(); ++e) {
      if (sides[e].empty()) continue;
      Part& p = parts_.emplace_back();
      p.n = int64_t(sides[e].size());
      p.weights = !own ? base_.data() : e == 0 ? teacher_.high_noise : teacher_.low_noise;
      std::vector<const TextEmbedding*> texts;
      for (int pass = 0; pass < (guided_ ? 2 : 1); ++pass)
        for (int64_t i : sides[e]) {
          p.latents.insert(p.latents.end(), calibration_.latents.begin() + i * size, calibration_.latents.begin() + (i + 1) * size);
          p.timesteps.push_back(calibration_.timesteps[size_t(i)]);
          texts.push_back(pass ? teacher_.negative : calibration_.texts[size_t(i)]);
        }
      p.text = TextBatch::pack(texts, tc_.text_dim);
      for (int64_t i : sides[e]) {
        latents_.insert(latents_.end(), calibration_.latents.begin() + i * size, calibration_.latents.begin() + (i + 1) * size);
        timesteps_.push_back(calibration_.timesteps[size_t(i)]);
        all.push_back(calibration_.texts[size_t(i)]);
      }
    }
    text_ = TextBatch::pack(all, tc_.text_dim);
  }

  std::vector<Stream> streams() {
    std::vector<Stream> s;
    for (const Part& p : parts_) {
      s.emplace_back(*teacher_.transformer, p.weights, WanInput{calibration_.height, calibration_.width, p.latents.data(), p.timesteps.data(), &p.text}, queue_);
      s.back().embed();
    }
    return s;
  }
  float guidance(size_t part) const {
    return float(teacher_.low_noise && double(parts_[part].timesteps[0]) < teacher_.boundary_ratio * 1000 ? teacher_.guidance_2 : teacher_.guidance);
  }
  /// Rows of all parts' conditional pictures one below the other; guided: combined with unconditional.
  template <class F>
  Rows gather(std::vector<Stream>& t, bool guided, F f) {
    std::vector<Rows> r;
    int64_t rows = 0;
    for (size_t e = 0; e < t.size(); ++e) {
      Rows all = f(t[e]);
      const int64_t half = guided_ ? all.rows() / 2 : all.rows();
      if (guided_ && guided) {
        const Rows u = all.bottomRows(half);
        all.topRows(half) = u + guidance(e) * (all.topRows(half) - u);
      }
      r.push_back(all.topRows(half));
      rows += half;
    }
    Rows out(rows, r[0].cols());
    int64_t at = 0;
    for (Rows& x : r) { out.middleRows(at, x.rows()) = x; at += x.rows(); }
    return out;
  }

  struct Measured {
    std::vector<double> self_head, cross_head, ffn;      // importances
    Eigen::VectorXd gate1, gate3;    // mean square
    Row self_q, self_k, cross_q, cross_k;  // mean squares of the normalised q, k
  };

  static Row mean_squares(const Rows& x) {
    Row out = Row::Zero(x.cols());
    for (int64_t i = 0; i < x.rows(); ++i) { const auto r = x.row(i).array(); out.array() += r.square() / r.square().mean(); }
    return out / float(x.rows());
  }
  std::vector<double> heads(const Rows& out, const float* weight, const Row& gate2) {
    Eigen::MatrixXd m = Eigen::MatrixXd::Zero(C_, C_);
    add_moment(out, m, queue_);
    const Rows w = gate2.cwiseSqrt().transpose().asDiagonal() * ConstMap(weight, C_, C_);
    std::vector<double> score;
    const int64_t D = tc_.head_dim;
    for (int64_t h = 0; h < tc_.heads; ++h) {
      const Eigen::MatrixXd wh = w.middleCols(h * D, D).cast<double>();
      score.push_back((wh * m.block(h * D, h * D, D, D)).cwiseProduct(wh).sum());
    }
    return score;
  }

  void measure() {
    std::vector<Stream> t = streams();
    moment_ = Eigen::MatrixXd::Zero(C_, C_);
    context_moment_ = Eigen::MatrixXd::Zero(C_, C_);
    const double diff = dknob("DIFF", 0);
    const bool weigh = iknob("WEIGH", 0);
    const auto note = [&](int64_t l, int which) {
      size_t e = 0;
      for (Stream& s : t) {
        Rows n = s.normalised();
        if (weigh && l >= 0) {
          if (which == 1) n = n * ConstRow(b_->blocks[size_t(l)].norm2_weight, C_).asDiagonal();
          else { const Rows sc = s.modulation(l, which == 0 ? 1 : 4); for (int64_t i = 0; i < n.rows(); ++i) n.row(i).array() *= 1 + sc.row(i / s.tokens()).array(); }
          n.colwise() -= Eigen::VectorXf(n.rowwise().mean());
        }
        if (guided_ && diff > 0) {
          const int64_t half = n.rows() / 2;
          Rows d = float(std::sqrt(diff)) * guidance(e) * (n.topRows(half) - n.bottomRows(half));
          add_moment(Rows(n.topRows(half)), moment_, queue_); add_moment(d, moment_, queue_);
        } else if (guided_ && diff < 0) add_moment(Rows(n.topRows(n.rows() / 2)), moment_, queue_);
        else add_moment(n, moment_, queue_);
        count_ += n.rows();
        ++e;
      }
    };
    for (Stream& s : t) add_moment(s.context, context_moment_, queue_);
    measured_.resize(layers_.size());
    for (int64_t l = 0, j = 0; l < tc_.layers; ++l) {
      const bool chosen = j < sc_.layers && layers_[size_t(j)] == l;
      if (!chosen) { for (Stream& s : t) s.run(l); continue; }
      Measured& m = measured_[size_t(j++)];
      const BlockTensors<const float>& w = b_->blocks[size_t(l)];
      note(l, 0);
      Row gate1 = gather(t, false, [&](Stream& s) { return s.modulation(l, 2); }).array().square().colwise().mean();
      Row gate3 = gather(t, false, [&](Stream& s) { return s.modulation(l, 5); }).array().square().colwise().mean();
      Attended kept;
      const auto both = [&](bool self) {
        std::vector<Attended> a;
        for (Stream& s : t) a.push_back(self ? s.self_attention(l, s.norm1(l)) : s.cross_attention(l, s.norm2(l)));
        size_t e = 0;
        Rows out = gather(t, false, [&](Stream&) { return a[e++].out; });
        e = 0; Row q = mean_squares(gather(t, false, [&](Stream&) { return a[e++].q; }));
        Row k = Row::Zero(C_);
        for (Attended& x : a) k += mean_squares(x.k) / float(a.size());
        (self ? m.self_q : m.cross_q) = q; (self ? m.self_k : m.cross_k) = k;
        (self ? m.self_head : m.cross_head) = heads(out, self ? w.self.out.weight : w.cross.out.weight, self ? gate1 : Row(Row::Ones(C_)));
        e = 0;
        for (Stream& s : t) self ? s.add_self(l, a[e++].out) : s.add_cross(l, a[e++].out);
      };
      both(true); note(l, 1); both(false); note(l, 2);
      const Rows wo = gate3.cwiseSqrt().transpose().asDiagonal() * ConstMap(w.ffn_out.weight, C_, tc_.ffn_dim);
      const Row norms = wo.colwise().squaredNorm();
      Row sum = Row::Zero(tc_.ffn_dim);
      for (Stream& s : t) {
        const Rows act = s.ffn_act(s.ffn_raw(l, s.norm3(l)));
        const Row mean = act.colwise().mean();
        sum += (act.rowwise() - mean).array().square().colwise().sum().matrix();
        s.add_ffn(l, act);
      }
      for (int64_t i = 0; i < tc_.ffn_dim; ++i) m.ffn.push_back(double(sum[i]) * norms[i]);
    }
    note(-1, 0);
    if (iknob("VERBOSE", 0)) {
      for (auto& m : measured_) { printf("heads self"); for (double x : m.self_head) printf(" %.3g", x); printf(" cross"); for (double x : m.cross_head) printf(" %.3g", x); printf("\n"); }
      for (int64_t l = 0; l < tc_.layers; ++l) for (int w = 0; w < 6; ++w) {
        Rows g = gather(t, false, [&](Stream& s) { return s.modulation(l, w); });
        Row mean = g.colwise().mean(); Row sd = (g.rowwise() - mean).array().square().colwise().mean().sqrt();
        printf("layer %ld mod %d: rms of mean %.3f, rms of std over t %.3f\n", l, w, std::sqrt(mean.squaredNorm() / C_), std::sqrt(sd.squaredNorm() / C_));
      }
    }
  }

  Index channels(const std::vector<double>& score) {
    Index out;
    for (int64_t h : largest(score, sc_.heads))
      for (int64_t i = 0; i < sc_.head_dim; ++i) out.push_back(h * tc_.head_dim + i);
    return out;
  }

  void choose_basis() {
    // Importance of a channel: its energy after the norms.
    std::vector<double> energy;
    for (int64_t i = 0; i < C_; ++i) energy.push_back(moment_(i, i));
    const Index kept = largest(energy, c_);
    P_ = Rows::Zero(c_, C_);
    for (int64_t i = 0; i < c_; ++i) P_(i, kept[size_t(i)]) = 1;
    if (kind_ == InitKind::kPca) {
      Eigen::MatrixXd m = moment_;
      m.array() -= moment_.trace() / double(C_);  // the constant direction last: norms do not see it
      const Rows e = principal_directions(m, c_ - 1);  // [c-1, C]
      Eigen::MatrixXd b = (P_ * e.transpose()).cast<double>();
      b.rowwise() -= b.colwise().mean().eval();
      const Eigen::JacobiSVD<Eigen::MatrixXd> svd(b, Eigen::ComputeThinU | Eigen::ComputeThinV);
      P_ = (svd.matrixU() * svd.matrixV().transpose()).cast<float>() * e;
    }
    if (iknob("VERBOSE", 0)) { double kept_energy = ((P_.cast<double>() * moment_).cwiseProduct(P_.cast<double>())).sum() / moment_.trace(); printf("kept energy %.4f\n", kept_energy); }
    P2_ = P_.cwiseAbs2();
    Q_ = principal_directions(context_moment_, c_);  // context basis
  }

  template <class T> static ConstMap view(const LinearTensors<T>& l, int64_t m, int64_t k) { return ConstMap(l.weight, m, k); }

  void embedders() {
    const int64_t patch = tc_.in_channels * tc_.patch_height * tc_.patch_width;
    const auto& w = *b_;
    Map(s_.patch_embedding.weight, c_, patch) = P_ * ConstMap(w.patch_embedding.weight, C_, patch);
    RowMap(s_.patch_embedding.bias, c_) = (P_ * ConstRow(w.patch_embedding.bias, C_).transpose()).transpose();

    // Time: on a grid.
    const int64_t G = 501, R = tc_.freq_dim;
    std::vector<float> grid; for (int64_t i = 0; i < G; ++i) grid.push_back(float(i) * 2);
    Rows sinus(G, R);
    kCpuOps.timestep_embedding(G, R, grid.data(), sinus.data(), queue_);
    struct Time { Rows act, temb, proj; };
    const auto time_of = [&](const WanTensors<const float>& w) {
      Rows act = (sinus * ConstMap(w.time_in.weight, C_, R).transpose()).rowwise() + ConstRow(w.time_in.bias, C_);
      kCpuOps.silu_forward(act.size(), act.data(), act.data(), queue_);
      Rows temb = (act * ConstMap(w.time_out.weight, C_, C_).transpose()).rowwise() + ConstRow(w.time_out.bias, C_);
      Rows a = temb; kCpuOps.silu_forward(a.size(), a.data(), a.data(), queue_);
      Rows proj = (a * ConstMap(w.time_proj.weight, 6 * C_, C_).transpose()).rowwise() + ConstRow(w.time_proj.bias, 6 * C_);
      return Time{act, temb, proj};
    };
    Time t = time_of(w);
    if (teacher_.low_noise && knob("EXPERT", "own") == "own") {
      Time hi = time_of(WanTensors<const float>(tc_, teacher_.transformer->layout(), teacher_.high_noise));
      Time lo = time_of(WanTensors<const float>(tc_, teacher_.transformer->layout(), teacher_.low_noise));
      for (int64_t i = 0; i < G; ++i) {
        const Time& x = double(grid[size_t(i)]) < teacher_.boundary_ratio * 1000 ? lo : hi;
        t.temb.row(i) = x.temb.row(i); t.proj.row(i) = x.proj.row(i);
      }
    }
    const Rows& temb = t.temb; const Rows& proj = t.proj;
    const Rows centred = t.act.rowwise() - Row(t.act.colwise().mean());
    std::vector<double> score;
    for (int64_t i = 0; i < C_; ++i) score.push_back(double(centred.col(i).squaredNorm()) * ConstMap(w.time_out.weight, C_, C_).col(i).squaredNorm());
    const Index hid = largest(score, c_);
    Map(s_.time_in.weight, c_, R) = ConstMap(w.time_in.weight, C_, R)(hid, Eigen::all);
    RowMap(s_.time_in.bias, c_) = ConstRow(w.time_in.bias, C_)(hid);
    const Rows head = kind_ == InitKind::kPca ? Rows(0.5f * (P_ + P2_)) : P_;
    const Rows temb_target = temb * head.transpose();
    Map(s_.time_out.weight, c_, c_) = head * ConstMap(w.time_out.weight, C_, C_)(Eigen::all, hid);
    RowMap(s_.time_out.bias, c_) = (head * ConstRow(w.time_out.bias, C_).transpose()).transpose();
    const Rows act = t.act(Eigen::all, hid);
    const auto predict = [&](const Rows& x, const LinearTensors<float>& l, int64_t m) { return Rows((x * Map(l.weight, m, x.cols()).transpose()).rowwise() + RowMap(l.bias, m)); };
    refit(act, temb_target - predict(act, s_.time_out, c_), 1e-7, s_.time_out, queue_);
    const Rows temb_s = predict(act, s_.time_out, c_);
    Rows temb_act = temb_s;
    kCpuOps.silu_forward(temb_act.size(), temb_act.data(), temb_act.data(), queue_);

    // Modulation: means fold, deviations by diagonal approximation.
    mean_.assign(layers_.size(), {});
    const Row tau_mean = proj.colwise().mean();
    Rows target(G, 6 * c_);
    Row inv = Row::Zero(C_);  // averages over layers
    fold_.clear();
    for (size_t j = 0; j < layers_.size(); ++j) {
      const auto& blk = b_->blocks[size_t(layers_[j])];
      Row m = ConstRow(blk.scale_shift_table, 6 * C_) + tau_mean;
      mean_[j] = m;
    }
    const bool fold = kind_ == InitKind::kPca && iknob("FOLD", 1);
    for (int which = 0; which < 6; ++which) {
      const bool gate = which % 3 == 2, scale = which % 3 == 1;
      Rows dev = proj.middleCols(which * C_, C_).rowwise() - Row(tau_mean.segment(which * C_, C_));
      if (!fold) { target.middleCols(which * c_, c_) = dev * P2_.transpose(); if (!gate && !scale) target.middleCols(which * c_, c_) = dev * P_.transpose(); continue; }
      // weights of the diagonal approximation: averaged over layers
      Rows A = Rows::Zero(c_, C_);
      for (size_t j = 0; j < layers_.size(); ++j) A += approx(which, j) / float(layers_.size());
      target.middleCols(which * c_, c_) = dev * A.transpose();
    }
    fold_on_ = fold;
    Map(s_.time_proj.weight, 6 * c_, c_).setZero();
    if (kind_ == InitKind::kSlice)
      for (int which = 0; which < 6; ++which) {
        Map(s_.time_proj.weight, 6 * c_, c_).middleRows(which * c_, c_) = P_ * ConstMap(w.time_proj.weight, 6 * C_, C_).middleRows(which * C_, C_) * P_.transpose();
        RowMap(s_.time_proj.bias, 6 * c_).segment(which * c_, c_) = ConstRow(w.time_proj.bias, 6 * C_).segment(which * C_, C_) * P_.transpose() - tau_mean.segment(which * C_, C_) * P_.transpose();
      }
    refit(temb_act, target - predict(temb_act, s_.time_proj, 6 * c_), 1e-7, s_.time_proj, queue_);
    if (kind_ == InitKind::kSlice)
      for (int which = 0; which < 6; ++which) RowMap(s_.time_proj.bias, 6 * c_).segment(which * c_, c_) += tau_mean.segment(which * C_, C_) * P_.transpose();
    if (iknob("VERBOSE", 0)) {
      const Rows got = predict(temb_act, s_.time_proj, 6 * c_);
      Rows want = target;
      if (kind_ == InitKind::kSlice) for (int which = 0; which < 6; ++which) want.middleCols(which * c_, c_).rowwise() += Row(tau_mean.segment(which * C_, C_) * P_.transpose());
      printf("time fit: temb rel %.2e, proj rel %.2e (of deviation %.2e)\n", (temb_s - temb_target).norm() / temb_target.norm(), (got - want).norm() / want.norm(), (got - want).norm() / (target.rowwise() - Row(target.colwise().mean())).norm());
    }

    // Text.
    const int64_t Dt = tc_.text_dim, T = text_.total();
    const Rows text = ConstMap(text_.rows.data(), T, Dt);
    Rows th = (text * ConstMap(w.text_in.weight, C_, Dt).transpose()).rowwise() + ConstRow(w.text_in.bias, C_);
    kCpuOps.gelu_forward(th.size(), th.data(), th.data(), queue_);
    const Rows thc = th.rowwise() - Row(th.colwise().mean());
    score.clear();
    for (int64_t i = 0; i < C_; ++i) score.push_back(double(thc.col(i).squaredNorm()) * ConstMap(w.text_out.weight, C_, C_).col(i).squaredNorm());
    const Index tid = largest(score, c_);
    Map(s_.text_in.weight, c_, Dt) = ConstMap(w.text_in.weight, C_, Dt)(tid, Eigen::all);
    RowMap(s_.text_in.bias, c_) = ConstRow(w.text_in.bias, C_)(tid);
    Map(s_.text_out.weight, c_, c_) = Q_ * ConstMap(w.text_out.weight, C_, C_)(Eigen::all, tid);
    RowMap(s_.text_out.bias, c_) = (Q_ * ConstRow(w.text_out.bias, C_).transpose()).transpose();
    const Rows ctx = ((th * ConstMap(w.text_out.weight, C_, C_).transpose()).rowwise() + ConstRow(w.text_out.bias, C_)) * Q_.transpose();
    if (refit_ || iknob("TEXTFIT", 1)) refit(th(Eigen::all, tid), ctx - predict(th(Eigen::all, tid), s_.text_out, c_), ridge_, s_.text_out, queue_);
    if (iknob("VERBOSE", 0)) printf("text fit rel %.3e\n", (predict(th(Eigen::all, tid), s_.text_out, c_) - ctx).norm() / ctx.norm());
  }

  /// d student modulation deviation / d teacher's deviation: [c, C]
  Rows approx(int which, size_t j) {
    const Row m = mean_[j].segment(which * C_, C_);
    if (which % 3 == 0) {  // shift: P diag(1+mean scale)^-1
      const Row s = mean_[j].segment((which + 1) * C_, C_);
      return P_ * safe(s).asDiagonal();
    }
    if (which % 3 == 1) return P2_ * safe(m).asDiagonal();
    Row g2 = m.cwiseAbs2();
    Rows a = P2_ * m.asDiagonal();
    const Eigen::VectorXf denominator = P2_ * g2.transpose();
    return denominator.cwiseInverse().asDiagonal() * a;
  }
  static Row safe(const Row& s) {  // 1 / (1 + s), bounded
    return s.unaryExpr([](float v) { const float d = 1 + v; return d / (d * d + 0.01f); });
  }

  void blocks() {
    std::vector<Stream> t = streams();
    Stream z(student_, weights_.data(), WanInput{calibration_.height, calibration_.width, latents_.data(), timesteps_.data(), &text_}, queue_);
    z.embed();
    const bool verbose = iknob("VERBOSE", 0);
    const auto target = [&] { return Rows(gather(t, guided_, [](Stream& s) { return s.x; }) * P_.transpose()); };
    const auto report = [&](const char* what, int64_t j) {
      if (!verbose) return;
      const Rows want = target();
      Rows a = z.x, b = want;
      a.colwise() -= Eigen::VectorXf(a.rowwise().mean()); b.colwise() -= Eigen::VectorXf(b.rowwise().mean());
      printf("block %ld %s: stream rel err^2 %.4f\n", j, what, (a - b).squaredNorm() / b.squaredNorm());
    };
    report("embed", -1);
    for (int64_t j = 0; j < sc_.layers; ++j) {
      const int64_t l = layers_[size_t(j)], end = j + 1 < sc_.layers ? layers_[size_t(j) + 1] : tc_.layers;
      const BlockTensors<const float>& w = b_->blocks[size_t(l)];
      const BlockTensors<float>& s = s_.blocks[size_t(j)];
      const Measured& m = measured_[size_t(j)];
      const Row mean = mean_[size_t(j)];
      // Table: what makes the mean modulation right; time_proj has zero mean on the grid if folded.
      const float r1 = norm_ratio(t);
      table(s.scale_shift_table, w.scale_shift_table, mean);
      const Index self = channels(m.self_head), cross = channels(m.cross_head), ffn = largest(m.ffn, sc_.ffn_dim);
      const auto fold = [&](int which) { return fold_on_ ? Row(Row::Ones(C_) + mean.segment(which * C_, C_)) : Row(Row::Ones(C_)); };

      // ---- self attention
      read(w.self.q, s.self.q, self, fold(1), r1); read(w.self.k, s.self.k, self, fold(1), r1); read(w.self.v, s.self.v, self, fold(1), r1);
      shift_fix(s, 0, r1);
      norm_weight(w.self.norm_q, s.self.norm_q, self, m.self_q); norm_weight(w.self.norm_k, s.self.norm_k, self, m.self_k);
      std::vector<Attended> a; for (Stream& x : t) a.push_back(x.self_attention(l, x.norm1(l)));
      size_t e = 0;
      if (refit_ && on("q")) {
        const Rows n = z.norm1(j);
        fit_qk(n, a, t, 0, self, s.self.q); fit_qk(n, a, t, 1, self, s.self.k); fit_qk(n, a, t, 2, self, s.self.v);
      }
      write(w.self.out, s.self.out, self, fold_on_ ? Row(mean.segment(2 * C_, C_)) : Row(Row::Ones(C_)), C_);
      e = 0; for (Stream& x : t) x.add_self(l, a[e++].out);
      const Rows out1 = z.self_attention(j, z.norm1(j)).out;
      if (refit_ && on("o")) fit_out(z, out1, target(), j, 2, s.self.out);
      z.add_self(j, out1);
      report("self", j);

      // ---- cross attention
      const float r2 = norm_ratio(t);
      RowMap(s.norm2_weight, c_).setOnes();
      RowMap(s.norm2_bias, c_).setZero();
      Row f2 = Row::Ones(C_), bias2 = ConstRow(w.norm2_bias, C_);
      if (kind_ == InitKind::kPca) f2 = ConstRow(w.norm2_weight, C_);
      else RowMap(s.norm2_weight, c_) = ConstRow(w.norm2_weight, C_) * P_.transpose();
      read(w.cross.q, s.cross.q, cross, f2, r2);
      if (kind_ == InitKind::kPca) RowMap(s.cross.q.bias, c_) += Row(bias2 * ConstMap(w.cross.q.weight, C_, C_).transpose())(cross);
      else RowMap(s.norm2_bias, c_) = bias2 * P_.transpose() / r2;
      Map(s.cross.k.weight, c_, c_) = ConstMap(w.cross.k.weight, C_, C_)(cross, Eigen::all) * Q_.transpose();
      Map(s.cross.v.weight, c_, c_) = ConstMap(w.cross.v.weight, C_, C_)(cross, Eigen::all) * Q_.transpose();
      RowMap(s.cross.k.bias, c_) = ConstRow(w.cross.k.bias, C_)(cross);
      RowMap(s.cross.v.bias, c_) = ConstRow(w.cross.v.bias, C_)(cross);
      norm_weight(w.cross.norm_q, s.cross.norm_q, cross, m.cross_q); norm_weight(w.cross.norm_k, s.cross.norm_k, cross, m.cross_k);
      a.clear(); for (Stream& x : t) a.push_back(x.cross_attention(l, x.norm2(l)));
      if (refit_ && on("c")) fit_qk(z.norm2(j), a, t, 0, cross, s.cross.q);
      write(w.cross.out, s.cross.out, cross, Row::Ones(C_), C_);
      e = 0; for (Stream& x : t) x.add_cross(l, a[e++].out);
      const Rows out2 = z.cross_attention(j, z.norm2(j)).out;
      if (refit_ && on("d")) fit_out(z, out2, target(), j, -1, s.cross.out);
      z.add_cross(j, out2);
      report("cross", j);

      // ---- feed-forward
      const float r3 = norm_ratio(t);
      read(w.ffn_in, s.ffn_in, ffn, fold(4), r3);
      shift_fix(s, 3, r3);
      std::vector<Rows> raw; for (Stream& x : t) raw.push_back(x.ffn_raw(l, x.norm3(l)));
      if (refit_ && on("f")) {
        e = 0;
        const Rows want = gather(t, iknob("GFFN", 0), [&](Stream&) { return Rows(raw[e++](Eigen::all, ffn)); });
        const Rows n = z.norm3(j);
        fit(n, want - z.ffn_raw(j, n), s.ffn_in);
      }
      write(w.ffn_out, s.ffn_out, ffn, fold_on_ ? Row(mean.segment(5 * C_, C_)) : Row(Row::Ones(C_)), tc_.ffn_dim);
      e = 0; for (Stream& x : t) x.add_ffn(l, x.ffn_act(raw[e++]));
      for (int64_t k = l + 1; k < end; ++k) for (Stream& x : t) x.run(k);
      const Rows act = z.ffn_act(z.ffn_raw(j, z.norm3(j)));
      if (refit_ && on("g")) fit_out(z, act, target(), j, 5, s.ffn_out);
      z.add_ffn(j, act);
      report("ffn", j);
    }
    // ---- head
    const float r = norm_ratio(t);
    const int64_t out = tc_.out_channels * tc_.patch_height * tc_.patch_width;
    RowMap(s_.scale_shift_table, c_) = ConstRow(b_->scale_shift_table, C_) * P_.transpose();
    RowMap(s_.scale_shift_table + c_, c_) = ConstRow(b_->scale_shift_table + C_, C_) * P2_.transpose();
    Map(s_.proj_out.weight, out, c_) = r * ConstMap(b_->proj_out.weight, out, C_) * P_.transpose();
    RowMap(s_.proj_out.bias, out) = ConstRow(b_->proj_out.bias, out);
    size_t e = 0;
    if ((refit_ && on("h")) || iknob("HEADFIT", 0)) {
      const Rows want = gather(t, guided_, [&](Stream& x) { const WanTensors<const float> tw(tc_, teacher_.transformer->layout(), parts_[e++].weights); return x.linear(x.head_norm(), tw.proj_out, out); });
      const Rows n = z.head_norm();
      const WanTensors<const float> sw(sc_, student_.layout(), static_cast<const float*>(weights_.data()));
      refit(n, want - z.linear(n, sw.proj_out, out), dknob("HRIDGE",ridge_), s_.proj_out, queue_);
      if (verbose) printf("head: rel err^2 %.4f\n", (want - z.linear(n, sw.proj_out, out)).squaredNorm() / want.squaredNorm());
    }
  }

  bool on(const char* what) const { return (" " + knob("RF", "q o c d f g h") + " ").find(std::string(" ") + what + " ") != std::string::npos; }
  void fit(const Rows& x, const Rows& residual, const LinearTensors<float>& layer) {
    if (iknob("BIAS", 0)) { RowMap(layer.bias, residual.cols()) += Row(residual.colwise().mean()); return; }
    refit(x, residual, ridge_, layer, queue_);
  }
  void fit_qk(const Rows& n, const std::vector<Attended>& a, std::vector<Stream>& t, int which, const Index& idx, const LinearTensors<float>& layer) {
    size_t e = 0;
    const Rows want = gather(t, which == 2 && iknob("GV", 0), [&](Stream&) { const Attended& x = a[e++]; return Rows((which == 0 ? x.q : which == 1 ? x.k : x.v)(Eigen::all, idx)); });
    const Rows got = (n * Map(layer.weight, int64_t(idx.size()), n.cols()).transpose()).rowwise() + RowMap(layer.bias, int64_t(idx.size()));
    fit(n, want - got, layer);
  }
  /// gate: row of the modulation, or -1
  void fit_out(Stream& z, const Rows& in, const Rows& want, int64_t j, int gate, const LinearTensors<float>& layer) {
    Rows y = (in * Map(layer.weight, c_, in.cols()).transpose()).rowwise() + RowMap(layer.bias, c_);
    Rows x = in, residual = want - z.x;
    if (iknob("OWN", 0)) residual = residual;
    if (gate < 0) { residual -= y; }
    else {
      const Rows g = z.modulation(j, gate);
      for (int64_t i = 0; i < y.rows(); ++i) {
        const auto gi = g.row(i / z.tokens()).array();
        const float w = std::sqrt(gi.square().mean());
        residual.row(i) = (residual.row(i).array() - gi * y.row(i).array()) * gi / (gi.square() + 0.01f * w * w);
      }
    }
    fit(x, residual, layer);
  }

  float norm_ratio(std::vector<Stream>& t) {
    if (iknob("GLOBAL", 0)) return float(std::sqrt((P_.cast<double>() * moment_).cwiseProduct(P_.cast<double>()).sum() / double(c_ * count_)));
    double sum = 0; int64_t rows = 0;
    for (Stream& s : t) {
      Rows p = s.normalised() * P_.transpose();
      p.colwise() -= Eigen::VectorXf(p.rowwise().mean());
      for (int64_t i = 0; i < p.rows(); ++i) sum += std::sqrt(p.row(i).squaredNorm() / float(c_));
      rows += p.rows();
    }
    return float(sum / double(rows));
  }
  void read(const LinearTensors<const float>& w, const LinearTensors<float>& s, const Index& idx, const Row& fold, float r) {
    const int64_t total = max_rows(w);
    Map(s.weight, int64_t(idx.size()), c_) = r * (ConstMap(w.weight, total, C_)(idx, Eigen::all) * fold.asDiagonal()) * P_.transpose();
    RowMap(s.bias, int64_t(idx.size())) = ConstRow(w.bias, total)(idx);
  }
  int64_t max_rows(const LinearTensors<const float>& w) const { return w.bias - w.weight >= 0 ? int64_t((w.bias - w.weight) / C_) : 0; }
  void write(const LinearTensors<const float>& w, const LinearTensors<float>& s, const Index& idx, const Row& gate, int64_t in) {
    Map(s.weight, c_, int64_t(idx.size())) = (P_ * gate.asDiagonal()) * ConstMap(w.weight, C_, in)(Eigen::all, idx);
    RowMap(s.bias, c_) = (P_ * (gate.array() * ConstRow(w.bias, C_).array()).matrix().transpose()).transpose();
  }
  void table(float* to, const float* from, const Row& mean) {
    for (int which = 0; which < 6; ++which) {
      RowMap out(to + which * c_, c_);
      if (!fold_on_) {
        const Row src = kind_ == InitKind::kPca ? Row(mean.segment(which * C_, C_)) : Row(ConstRow(from + which * C_, C_));
        out = src * (which % 3 == 0 ? P_ : P2_).transpose();
        continue;
      }
      if (which % 3 == 0) out = Row(mean.segment(which * C_, C_).array() * safe(mean.segment((which + 1) * C_, C_)).array()) * P_.transpose();
      else if (which % 3 == 1) out.setZero();
      else out.setOnes();
    }
  }
  /// Shift reads through weights that were multiplied by r.
  void shift_fix(const BlockTensors<float>& s, int which, float r) {
    // mean part exact when the time part has zero mean; else divide table and mean time part
    RowMap out(s.scale_shift_table + which * c_, c_);
    Row time = Row::Zero(c_);
    if (kind_ == InitKind::kSlice) time = mean_tau(which);
    out = (out + time) / r - time;
  }
  Row mean_tau(int which) {
    // mean over the grid of the student's time projection
    return (mean_[0].segment(which * C_, C_) - ConstRow(b_->blocks[size_t(layers_[0])].scale_shift_table + which * C_, C_)) * P_.transpose();
  }
  void norm_weight(const float* w, float* s, const Index& idx, const Row& mean_square) {
    const float ratio = std::sqrt(mean_square(idx).mean());
    RowMap(s, c_) = ratio * std::sqrt(std::sqrt(float(tc_.head_dim) / float(sc_.head_dim))) * ConstRow(w, C_)(idx);
  }

  InitKind kind_;
  const GuidedModel& teacher_;
  const WanConfig& tc_;
  const WanTransformer& student_;
  const WanConfig& sc_;
  const Calibration& calibration_;
  Queue queue_;
  Buffer<float> weights_, base_;
  WanTensors<float> s_;
  std::optional<WanTensors<const float>> b_;
  Index layers_;
  std::vector<Part> parts_;
  std::vector<float> latents_, timesteps_;
  TextBatch text_;
  bool refit_, guided_, fold_on_ = false;
  double ridge_;
  int64_t count_ = 0;
  int64_t C_, c_;
  Eigen::MatrixXd moment_, context_moment_;
  std::vector<Measured> measured_;
  Rows P_, P2_, Q_;
  std::vector<Row> mean_;
  std::vector<int> fold_;
};

void random_weights(const WanConfig& c, const ParameterLayout& layout, uint64_t seed, Buffer<float>& w) {
  (void)c;
  uint64_t stream = 0;
  for (size_t i = 0; i < layout.parameters().size(); ++i) {
    const ParameterInfo& p = layout.parameters()[i];
    float* at = w.data() + p.offset;
    ++stream;
    if (p.name.find("scale_shift_table") != std::string::npos) {
      fill_gaussian(seed, stream, 0, p.size, at);
      for (int64_t k = 0; k < p.size; ++k) at[k] /= std::sqrt(float(p.shape.back()));
    } else if (p.name.find("norm") != std::string::npos) {
      std::fill(at, at + p.size, p.name.ends_with("bias") ? 0.0f : 1.0f);
    } else {
      const ParameterInfo& weight = p.name.ends_with("bias") ? layout.parameters()[i - 1] : p;
      const float bound = 1 / std::sqrt(float(weight.size / weight.shape[0]));
      fill_uniform(seed, stream, 0, p.size, at);
      for (int64_t k = 0; k < p.size; ++k) at[k] = (2 * at[k] - 1) * bound;
    }
  }
}

}  // namespace

InitKind parse_init(const std::string& name) {
  if (name == "slice") return InitKind::kSlice;
  if (name == "pca") return InitKind::kPca;
  if (name == "random") return InitKind::kRandom;
  fail("unknown initialisation '", name, "'; expected slice, pca or random");
}

Buffer<float> initial_student(InitKind kind, const GuidedModel& teacher, const WanTransformer& student,
                              double projection_factor, const Calibration& calibration, uint64_t seed,
                              const Queue& queue) {
  (void)projection_factor;
  if (kind == InitKind::kRandom) {
    Buffer<float> w(student.layout().total());
    random_weights(student.config(), student.layout(), seed, w);
    return w;
  }
  return Reduction(kind, teacher, student, calibration, queue).run();
}

}  // namespace wandistill
