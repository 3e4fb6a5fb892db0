#include "wandistill/unipc.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "wandistill/error.h"

namespace wandistill {
namespace {

/// log(alpha) - log(sigma) at a sigma. float32 on purpose: next to sigma = 1 the rounding of 1 - sigma
/// decides the value (the first alpha is 1.0133e-6, not 1e-6), and the reference has it in float32.
float lambda(float sigma) {
  return std::log(1 - sigma) - std::log(sigma);
}

/// Solves a [n x n] * x = b in place (n <= 3, well conditioned: Vandermonde of distinct step ratios); the
/// result is b.
void solve_small(int n, std::array<std::array<double, 3>, 3> a, std::array<double, 3>* b) {
  for (int column = 0; column < n; ++column) {
    int pivot = column;
    for (int row = column + 1; row < n; ++row) {
      if (std::abs(a[row][column]) > std::abs(a[pivot][column])) pivot = row;
    }
    std::swap(a[column], a[pivot]);
    std::swap((*b)[column], (*b)[pivot]);
    for (int row = column + 1; row < n; ++row) {
      const double factor = a[row][column] / a[column][column];
      for (int k = column; k < n; ++k) a[row][k] -= factor * a[column][k];
      (*b)[row] -= factor * (*b)[column];
    }
  }
  for (int row = n - 1; row >= 0; --row) {
    for (int k = row + 1; k < n; ++k) (*b)[row] -= a[row][k] * (*b)[k];
    (*b)[row] /= a[row][row];
  }
}

}  // namespace

UniPC::UniPC(const SchedulerConfig& config, int64_t steps)
    : config_(config),
      sigmas_(flow_sigmas(steps, config.flow_shift)),
      timesteps_(flow_integer_timesteps(steps, config.flow_shift)) {
  WD_REQUIRE(config.solver_order >= 1 && config.solver_order <= UnipcStep::kMaxHistory);
  WD_REQUIRE(config.solver_order == 1 || config.lower_order_final);
}

// Equations 3 (predictor) and 9 (corrector) of the paper in x0 form, with hh = -h. Differences to m0, the
// prediction at `from`, are D_k = (m_k - m0) / r_k; r_k is the k-th earlier point's distance in lambda over
// h.
UniPC::Solution UniPC::solve(int64_t from, int64_t order, bool correct) const {
  const float sigma_s = sigmas_[from], sigma_t = sigmas_[from + 1], alpha_t = 1 - sigma_t;
  const float lambda_s = lambda(sigma_s);
  const float hh = -(lambda(sigma_t) - lambda_s);
  const float phi_1 = std::expm1(hh);  // hh is -infinity at the last step: then -1
  const int earlier = static_cast<int>(order) - 1;
  const int unknowns = correct ? earlier + 1 : earlier;

  std::array<float, 3> r = {1, 1, 1};  // the target itself is at distance 1
  for (int k = 0; k < earlier; ++k) r[k] = (lambda(sigmas_[from - 1 - k]) - lambda_s) / -hh;

  std::array<double, 3> rho = {0.5, 0.5, 0.5};  // one unknown: the simplification that the authors recommend
  if (unknowns > 1) {
    std::array<std::array<double, 3>, 3> matrix = {};
    float phi_k = phi_1 / hh - 1, factorial = 1;
    for (int row = 0; row < unknowns; ++row) {
      for (int k = 0; k < unknowns; ++k) matrix[row][k] = std::pow(static_cast<double>(r[k]), row);
      rho[row] = phi_k * factorial / phi_1;
      factorial *= static_cast<float>(row + 2);
      phi_k = phi_k / hh - 1 / factorial;
    }
    solve_small(unknowns, matrix, &rho);
  }

  const double scale = -static_cast<double>(alpha_t) * phi_1;
  Solution solution = {sigma_t / sigma_s, 0, {}};
  double of_m0 = scale;
  for (int k = 0; k < earlier; ++k) {
    const double weight = scale * rho[k] / r[k];
    solution.x0[k + 1] = static_cast<float>(weight);
    of_m0 -= weight;
  }
  if (correct) {
    const double weight = scale * rho[earlier];
    solution.target = static_cast<float>(weight);
    of_m0 -= weight;
  }
  solution.x0[0] = static_cast<float>(of_m0);
  return solution;
}

void UniPC::step(int64_t i, const float* velocity, float* x, int64_t n, const Compute& compute) {
  WD_REQUIRE(i == next_ && i < steps());
  const int64_t slots = config_.solver_order + 1;
  if (i == 0) {
    last_ = OpBuffer<float>(compute, n);
    for (int64_t slot = 0; slot < slots; ++slot) x0_.emplace_back(compute, n);
  }
  WD_REQUIRE(last_.size() == n);

  UnipcStep update;
  update.sigma = sigmas_[i];
  update.history = static_cast<int>(std::min(i, config_.solver_order));
  const auto& off = config_.disable_corrector;
  update.correct = i > 0 && std::find(off.begin(), off.end(), i - 1) == off.end();
  if (update.correct) {
    const Solution s = solve(i - 1, previous_order_, true);
    update.corrector = {s.state, s.target, {s.x0[0], s.x0[1], s.x0[2]}};
  }
  // Few predictions at the start; order 1 at the end, where h is infinite.
  int64_t order = std::min(config_.solver_order, i + 1);
  if (config_.lower_order_final) order = std::min(order, steps() - i);
  const Solution s = solve(i, order, false);
  update.predictor = {s.state, s.x0[0], {s.x0[1], s.x0[2], 0}};

  const float* history[UnipcStep::kMaxHistory] = {};
  for (int k = 0; k < update.history; ++k) history[k] = x0_[(i - 1 - k) % slots].data();
  compute.ops->unipc_update(n, update, velocity, history, x0_[i % slots].data(), last_.data(), x, compute);
  previous_order_ = order;
  ++next_;
}

}  // namespace wandistill
