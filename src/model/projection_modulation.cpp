#define EIGEN_DONT_PARALLELIZE  // sums must not depend on the number of threads
#include "src/model/projection_modulation.h"

namespace wandistill {
namespace {

using Row = Eigen::RowVectorXf;

bool is_shift(int64_t which) {
  return which % 3 == 0;
}
bool is_scale(int64_t which) {
  return which % 3 == 1;
}
bool is_gate(int64_t which) {
  return which % 3 == 2;
}

}  // namespace

BlockModulation::BlockModulation(const StreamBasis& basis, const Row& table, const Row& time_mean)
    : basis_(basis), mean_(table + time_mean) {}

Row BlockModulation::mean(int64_t which) const {
  return mean_.segment(which * basis_.p.cols(), basis_.p.cols());
}

Row BlockModulation::in_weights(int64_t which) const {
  if (basis_.axis_aligned) return Row::Constant(basis_.p.cols(), is_shift(which) ? 0.0f : 1.0f);
  return is_scale(which) ? Row(mean(which).array() + 1) : mean(which);
}

Rows BlockModulation::map(int64_t which) const {
  const Row d = in_weights(is_shift(which) ? which + 1 : which);  // the scale or gate in the weights
  if (is_shift(which)) {
    // The student's shift meets d in the weights, on a norm's output that is norm_ratio times smaller. 1 / d
    // is bounded by 5, unless d is 1 everywhere.
    const Row inverse =
        basis_.axis_aligned ? d : Row(d.unaryExpr([](float v) { return v / (v * v + 0.01f); }));
    return basis_.p * inverse.asDiagonal() / basis_.norm_ratio;
  }
  // For the teacher's e [C], the e' [c] for which diag(e') p diag(d) y is nearest to p diag(e) y on white y.
  const Rows squares = basis_.p.cwiseAbs2();
  const Eigen::VectorXf norm = squares * d.cwiseAbs2().transpose();
  return norm.cwiseInverse().asDiagonal() * squares * d.asDiagonal();
}

Row BlockModulation::student_mean(int64_t which) const {
  if (basis_.axis_aligned) return mean(which) * map(which).transpose();
  return Row::Constant(basis_.p.rows(), is_gate(which) ? 1.0f : 0.0f);
}

}  // namespace wandistill
