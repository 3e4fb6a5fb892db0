#define EIGEN_DONT_PARALLELIZE  // sums must not depend on the number of threads
#include "src/model/projection_fit.h"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <algorithm>

#include "wandistill/ops/matmul.h"

namespace wandistill {
namespace {

/// out [ka, kb] += a^T b.
void add_product(const Rows& a, const Rows& b, Eigen::MatrixXd& out, const Queue& queue) {
  constexpr int64_t kBlock = 2048;
  Rows part(a.cols(), b.cols());
  for (int64_t begin = 0; begin < a.rows(); begin += kBlock) {
    const int64_t rows = std::min<int64_t>(kBlock, a.rows() - begin);
    cpu::matmul(MatmulShape::dense(a.cols(), b.cols(), rows, true, false), a.data() + begin * a.cols(),
                b.data() + begin * b.cols(), part.data(), queue);
    out += part.cast<double>();
  }
}

}  // namespace

void add_moment(const Rows& rows, Eigen::MatrixXd& moment, const Queue& queue) {
  add_product(rows, rows, moment, queue);
}

Rows principal_directions(const Eigen::MatrixXd& moment, int64_t count) {
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(moment);
  return solver.eigenvectors().rowwise().reverse().leftCols(count).transpose().cast<float>();
}

void refit(const Rows& x, const Rows& residual, double ridge, const LinearTensors<float>& layer, const Queue& queue) {
  const int64_t k = x.cols(), m = residual.cols();
  const Eigen::RowVectorXf mean_x = x.colwise().mean(), mean_r = residual.colwise().mean();
  const Rows xc = x.rowwise() - mean_x, rc = residual.rowwise() - mean_r;
  Eigen::MatrixXd normal = Eigen::MatrixXd::Zero(k, k), right = Eigen::MatrixXd::Zero(k, m);
  add_product(xc, xc, normal, queue);
  add_product(xc, rc, right, queue);
  normal.diagonal().array() += ridge * normal.trace() / double(k) + 1e-30;
  const Rows change = normal.ldlt().solve(right).transpose().cast<float>();
  Eigen::Map<Rows>(layer.weight, m, k) += change;
  Eigen::Map<Eigen::RowVectorXf>(layer.bias, m) += mean_r - mean_x * change.transpose();
}

}  // namespace wandistill
