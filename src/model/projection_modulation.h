// What becomes of a block's modulations (shift, scale, gate) when the stream changes its coordinates.
#pragma once

#include "src/model/projection_stream.h"

namespace wandistill {

/// The student's residual stream z [c] in terms of the teacher's x [C]: z = p x.
struct StreamBasis {
  Rows p;             // [c, C]
  bool axis_aligned;  // each row picks one channel
  float norm_ratio;   // deviation of z per deviation of x: p (normalised x) = norm_ratio * (normalised z)
};

/// One block's modulations `which`, in the order of its table: shift, scale, gate of the attention, then of
/// the feed-forward. They act channel by channel. On picked channels they go on doing so. In other
/// coordinates they would not: there their mean over time goes into the weights beside them, exactly, and
/// only the deviation from the mean is approximated channel by channel.
class BlockModulation {
 public:
  using Row = Eigen::RowVectorXf;
  /// table [6 C]: the teacher's; time_mean [6 C]: the mean over time of its time projection.
  BlockModulation(const StreamBasis& basis, const Row& table, const Row& time_mean);

  /// [C], what goes into the weights: 1 + scale, shift or gate.
  Row in_weights(int64_t which) const;
  /// [c, C]: the student's modulation changes by `map` times the teacher's change.
  Rows map(int64_t which) const;
  /// [c]: the mean that is left to the student's modulation.
  Row student_mean(int64_t which) const;

 private:
  Row mean(int64_t which) const;

  const StreamBasis& basis_;
  const Row mean_;  // [6 C]
};

}  // namespace wandistill
