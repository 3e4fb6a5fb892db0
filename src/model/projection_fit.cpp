#define EIGEN_DONT_PARALLELIZE  // sums must not depend on the number of threads
#include "src/model/projection_fit.h"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/SVD>
#include <algorithm>

#include "wandistill/ops/matmul.h"

namespace wandistill {
namespace {

using Eigen::MatrixXd;

/// sum [Ka, Kb] += a^T b.
void add_product(const Rows& a, const Rows& b, MatrixXd& sum, const Queue& queue) {
  constexpr int64_t kBlock = 2048;
  Rows part(a.cols(), b.cols());
  for (int64_t begin = 0; begin < a.rows(); begin += kBlock) {
    const int64_t rows = std::min<int64_t>(kBlock, a.rows() - begin);
    cpu::matmul(MatmulShape::dense(a.cols(), b.cols(), rows, true, false), a.data() + begin * a.cols(),
                b.data() + begin * b.cols(), part.data(), queue);
    sum += part.cast<double>();
  }
}

}  // namespace

void add_moment(const Rows& rows, MatrixXd& moment, const Queue& queue) {
  add_product(rows, rows, moment, queue);
}

Rows principal_directions(const MatrixXd& moment, int64_t count) {
  const Eigen::SelfAdjointEigenSolver<MatrixXd> solver(moment);
  return solver.eigenvectors().rowwise().reverse().leftCols(count).transpose().cast<float>();
}

Rows principal_basis(const MatrixXd& moment, const std::vector<int64_t>& channels) {
  const int64_t c = int64_t(channels.size());
  MatrixXd centred = moment;
  centred.array() -= moment.trace() / double(moment.rows());  // the all-ones direction comes last
  const Rows directions = principal_directions(centred, c - 1);
  // The orthogonal Procrustes problem: the nearest matrix with orthonormal columns, among those whose columns
  // sum to 0.
  MatrixXd nearest = directions(Eigen::all, channels).transpose().cast<double>();
  nearest.rowwise() -= nearest.colwise().mean().eval();
  const Eigen::BDCSVD<MatrixXd> svd(nearest, Eigen::ComputeThinU | Eigen::ComputeThinV);
  return (svd.matrixU() * svd.matrixV().transpose()).cast<float>() * directions;
}

void fit_linear(const Rows& x, const Rows& target, double ridge, const LinearTensors<float>& layer,
                const Queue& queue) {
  const int64_t k = x.cols(), m = target.cols();
  Eigen::Map<Rows> weight(layer.weight, m, k);
  Eigen::Map<Eigen::RowVectorXf> bias(layer.bias, m);
  Rows lack(x.rows(), m);
  cpu::linear_forward(x.rows(), m, k, x.data(), layer.weight, layer.bias, lack.data(), queue);
  lack = target - lack;
  const Eigen::RowVectorXf mean_x = x.colwise().mean(), mean_lack = lack.colwise().mean();
  MatrixXd normal = MatrixXd::Zero(k, k), right = MatrixXd::Zero(k, m);
  const Rows centred = x.rowwise() - mean_x;
  add_product(centred, centred, normal, queue);
  add_product(centred, lack.rowwise() - mean_lack, right, queue);
  normal.diagonal().array() += ridge * normal.trace() / double(k) + 1e-30;  // never singular
  const Rows change = normal.ldlt().solve(right).transpose().cast<float>();
  weight += change;
  bias += mean_lack - mean_x * change.transpose();
}

}  // namespace wandistill
