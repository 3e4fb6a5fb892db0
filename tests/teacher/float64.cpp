#include "tests/teacher/float64.h"

#include <Eigen/Core>
#include <cmath>
#include <complex>

#include "wandistill/error.h"

namespace wandistill::testing {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using Row = Eigen::RowVectorXd;
using Floats = Eigen::Map<const Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>;

double gelu(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double silu(double x) {
  return x / (1 + std::exp(-x));
}

class Evaluation {
 public:
  Evaluation(const WanConfig& config, const ParameterLayout& layout, const WanWeights& weights)
      : c_(config), layout_(layout), weights_(weights) {}

  Matrix linear(const Matrix& x, const std::string& name) const {
    const ParameterInfo& p = layout_.at(name + ".weight");
    const Floats weight(weights_.at<float>(p), p.shape[0], p.size / p.shape[0]);
    Matrix y = x * weight.cast<double>().transpose();
    return y.rowwise() + row(name + ".bias");
  }
  Row row(const std::string& name) const {
    const ParameterInfo& p = layout_.at(name);
    return Floats(weights_.at<float>(p), 1, p.size).cast<double>();
  }

  Matrix layer_norm(const Matrix& x) const {
    Matrix y = x.colwise() - x.rowwise().mean();
    for (Eigen::Index i = 0; i < y.rows(); ++i)
      y.row(i) /= std::sqrt(y.row(i).squaredNorm() / double(y.cols()) + c_.eps);
    return y;
  }
  /// RMS norm across all heads.
  Matrix qk_norm(Matrix x, const std::string& name) const {
    const Row weight = row(name + ".weight");
    for (Eigen::Index i = 0; i < x.rows(); ++i)
      x.row(i) *= 1 / std::sqrt(x.row(i).squaredNorm() / double(x.cols()) + c_.eps);
    return x.array().rowwise() * weight.array();
  }
  /// Pairs of channels of every head turned: none by time, the frame being the first, then by row and column.
  Matrix rope(Matrix x, const std::vector<int64_t>& tokens, int64_t columns) const {
    const int64_t D = c_.head_dim, axis = 2 * (D / 6), time = D - 2 * axis;
    for (size_t i = 0; i < tokens.size(); ++i)
      for (int64_t channel = time; channel < D; channel += 2) {
        const bool by_row = channel < time + axis;
        const int64_t position = by_row ? tokens[i] / columns : tokens[i] % columns;
        const int64_t within = channel - time - (by_row ? 0 : axis);
        const double angle = double(position) * std::pow(10000.0, -double(within) / double(axis));
        for (int64_t head = 0; head < c_.heads; ++head) {
          double& a = x(Eigen::Index(i), head * D + channel);
          double& b = x(Eigen::Index(i), head * D + channel + 1);
          const std::complex<double> turned = std::complex<double>(a, b) * std::polar(1.0, angle);
          a = turned.real();
          b = turned.imag();
        }
      }
    return x;
  }
  Matrix attention(const Matrix& q, const Matrix& k, const Matrix& v) const {
    const int64_t D = c_.head_dim;
    Matrix out(q.rows(), q.cols());
    for (int64_t head = 0; head < c_.heads; ++head) {
      Matrix scores =
          q.middleCols(head * D, D) * k.middleCols(head * D, D).transpose() / std::sqrt(double(D));
      for (Eigen::Index i = 0; i < scores.rows(); ++i) {
        scores.row(i) = (scores.row(i).array() - scores.row(i).maxCoeff()).exp();
        scores.row(i) /= scores.row(i).sum();
      }
      out.middleCols(head * D, D) = scores * v.middleCols(head * D, D);
    }
    return out;
  }

 private:
  const WanConfig& c_;
  const ParameterLayout& layout_;
  const WanWeights& weights_;
};

Matrix rows_of(const Matrix& all, const std::vector<int64_t>& tokens) {
  Matrix some(Eigen::Index(tokens.size()), all.cols());
  for (size_t i = 0; i < tokens.size(); ++i) some.row(Eigen::Index(i)) = all.row(tokens[i]);
  return some;
}

}  // namespace

std::vector<double> velocity_of_tokens(const WanConfig& c, const ParameterLayout& layout,
                                       const WanWeights& weights, int64_t h, int64_t w, const float* latents,
                                       double timestep, const TextEmbedding& text,
                                       const std::vector<int64_t>& tokens) {
  WD_REQUIRE(c.layers == 1);
  const Evaluation e(c, layout, weights);
  const int64_t ph = c.patch_height, pw = c.patch_width, columns = w / pw, L = h / ph * columns,
                C = c.hidden();
  Matrix patches(L, c.in_channels * ph * pw);
  for (int64_t l = 0; l < L; ++l)
    for (int64_t i = 0; i < patches.cols(); ++i) {
      const int64_t channel = i / (ph * pw), y = l / columns * ph + i / pw % ph,
                    x = l % columns * pw + i % pw;
      patches(l, i) = latents[(channel * h + y) * w + x];
    }
  const Matrix x0 = e.linear(patches, "patch_embedding");

  Matrix time(1, c.freq_dim);
  for (int64_t i = 0; i < c.freq_dim / 2; ++i) {
    const double angle = timestep * std::pow(10000.0, -double(i) / double(c.freq_dim / 2));
    time(0, i) = std::cos(angle);
    time(0, c.freq_dim / 2 + i) = std::sin(angle);
  }
  const std::string embedder = "condition_embedder.";
  const Matrix temb = e.linear(e.linear(time, embedder + "time_embedder.linear_1").unaryExpr(&silu),
                               embedder + "time_embedder.linear_2");
  const Matrix six = e.linear(temb.unaryExpr(&silu), embedder + "time_proj");
  Matrix padded = Matrix::Zero(kTextPositions, c.text_dim);
  for (int64_t i = 0; i < text.tokens * c.text_dim; ++i) padded.data()[i] = text.rows[size_t(i)];
  const Matrix context = e.linear(e.linear(padded, embedder + "text_embedder.linear_1").unaryExpr(&gelu),
                                  embedder + "text_embedder.linear_2");

  const std::string block = "blocks.0.";
  const Row table = e.row(block + "scale_shift_table");
  const auto modulation = [&](int64_t i) -> Row {
    return table.segment(i * C, C) + six.row(0).segment(i * C, C);
  };
  const auto modulated = [&](const Matrix& x, int64_t shift, int64_t scale) -> Matrix {
    return (e.layer_norm(x).array().rowwise() * (1 + modulation(scale).array())).rowwise() +
           modulation(shift).array();
  };
  std::vector<int64_t> all(size_t(L), 0);
  for (int64_t l = 0; l < L; ++l) all[size_t(l)] = l;

  const Matrix norm1 = modulated(x0, 0, 1);
  const Matrix k1 =
      e.rope(e.qk_norm(e.linear(norm1, block + "attn1.to_k"), block + "attn1.norm_k"), all, columns);
  const Matrix v1 = e.linear(norm1, block + "attn1.to_v");
  const Matrix q1 =
      e.rope(e.qk_norm(e.linear(rows_of(norm1, tokens), block + "attn1.to_q"), block + "attn1.norm_q"),
             tokens, columns);
  Matrix x = rows_of(x0, tokens);
  x.array() +=
      e.linear(e.attention(q1, k1, v1), block + "attn1.to_out.0").array().rowwise() * modulation(2).array();

  const Matrix norm2 = (e.layer_norm(x).array().rowwise() * e.row(block + "norm2.weight").array()).rowwise() +
                       e.row(block + "norm2.bias").array();
  const Matrix q2 = e.qk_norm(e.linear(norm2, block + "attn2.to_q"), block + "attn2.norm_q");
  const Matrix k2 = e.qk_norm(e.linear(context, block + "attn2.to_k"), block + "attn2.norm_k");
  const Matrix v2 = e.linear(context, block + "attn2.to_v");
  x += e.linear(e.attention(q2, k2, v2), block + "attn2.to_out.0");

  const Matrix hidden = e.linear(modulated(x, 3, 4), block + "ffn.net.0.proj").unaryExpr(&gelu);
  x.array() += e.linear(hidden, block + "ffn.net.2").array().rowwise() * modulation(5).array();

  const Row head = e.row("scale_shift_table");
  const Matrix norm_out =
      (e.layer_norm(x).array().rowwise() * (1 + head.segment(C, C).array() + temb.row(0).array())).rowwise() +
      (head.segment(0, C) + temb.row(0)).array();
  const Matrix out = e.linear(norm_out, "proj_out");
  return {out.data(), out.data() + out.size()};
}

}  // namespace wandistill::testing
