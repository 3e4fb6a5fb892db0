// The linear algebra of the student's initialisation: second moments, principal directions, ridge least
// squares.
#pragma once

#include <Eigen/Core>
#include <cstdint>

#include "src/model/projection_stream.h"

namespace wandistill {

/// moment [C, C] += rows^T rows, rows [N, C]; products in float32 over blocks of rows, added up in double.
void add_moment(const Rows& rows, Eigen::MatrixXd& moment, const Queue& queue);

/// A [c, C] matrix onto the c - 1 principal directions of `moment` [C, C], the all-ones direction left out,
/// since no norm sees it. It has orthonormal rows up to one: what it maps to has sum 0 over the c places, so
/// that the student's norm, which takes the mean out, takes nothing out. Among these it is the one nearest to
/// picking `channels` [c], so that what acts channel by channel on the teacher nearly does so on the student.
/// If c = C: x minus its mean.
Rows principal_basis(const Eigen::MatrixXd& moment, const std::vector<int64_t>& channels);

/// The eigenvectors of the `count` largest eigenvalues of a symmetric matrix, as rows [count, C].
Rows principal_directions(const Eigen::MatrixXd& moment, int64_t count);

/// Improves the layer, W [m, k] and bias [m], by ridge regression of what its output on x [N, k] lacks to
/// `target` [N, m]. The penalty on W's change is `ridge` times the mean variance of x's features; no lack, no
/// change.
void fit_linear(const Rows& x, const Rows& target, double ridge, const LinearTensors<float>& layer,
                const Queue& queue);

}  // namespace wandistill
