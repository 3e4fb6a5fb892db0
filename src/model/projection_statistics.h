// What a teacher does on calibration inputs: the measurements from which the student's share is chosen.
#pragma once

#include <vector>

#include "src/model/projection_stream.h"
#include "wandistill/projection.h"
#include "wandistill/session.h"

namespace wandistill {

/// Of one block, means over all rows.
struct BlockStatistics {
  std::vector<double> self_heads, cross_heads;  // [H]: energy that a head adds to the stream
  std::vector<double> ffn_units;                // [F]: variance that a unit adds to the stream
  // Mean squares of the RMS-normalised queries and keys, [C].
  Eigen::RowVectorXd self_q, self_k, cross_q, cross_k;
};

struct TeacherStatistics {
  Eigen::MatrixXd
      stream;  // [C, C]: second moment of the normalised stream, at all norms of the layers and the head
  std::vector<BlockStatistics> blocks;  // of `layers`
};

/// Runs the calibration set through one expert, picture by picture, the pictures divided over the ranks
/// (null: one process). `layers`: the ascending blocks to measure. Collective; the same on every rank, and
/// for every number of ranks. A rank holds three of the moments.
TeacherStatistics measure_teacher(const WanTransformer& teacher, const WanWeights& weights,
                                  const std::vector<int64_t>& layers, const Calibration& calibration,
                                  Session* session, const Queue& queue);

}  // namespace wandistill
