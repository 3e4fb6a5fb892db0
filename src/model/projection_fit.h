// The linear algebra of the student's initialisation: second moments, principal directions, ridge least squares.
#pragma once

#include <Eigen/Core>
#include <cstdint>

#include "src/model/projection_stream.h"
#include "wandistill/queue.h"

namespace wandistill {

/// moment [C, C] += rows^T rows, rows [N, C]; products in float32 over blocks of rows, added up in double.
void add_moment(const Rows& rows, Eigen::MatrixXd& moment, const Queue& queue);

/// The eigenvectors of the `count` largest eigenvalues of a symmetric matrix, as rows [count, C].
Rows principal_directions(const Eigen::MatrixXd& moment, int64_t count);

/// Improves y = x W^T + bias by what ridge regression of `residual` [N, m] on x [N, k] finds: W [m, k] and bias [m]
/// change so that their output moves towards y + residual. The penalty is `ridge` times the mean square of x per
/// feature, on the change of W alone; a zero residual changes nothing.
void refit(const Rows& x, const Rows& residual, double ridge, const LinearTensors<float>& layer, const Queue& queue);

}  // namespace wandistill
